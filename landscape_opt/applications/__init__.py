"""Whole applications of the library, each a folder to lift into a project; ``import landscape_opt`` imports none of them."""
