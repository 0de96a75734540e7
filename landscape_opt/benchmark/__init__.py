"""Methods compared at equal evaluations of F; nothing of it is imported by ``import landscape_opt``."""
