"""3D human pose from 2D keypoints: a landscape against staged fitting, with keypoints hidden, constraints, and in sequence.

``python examples/human_pose.py --out pictures`` prints tables of 300 held-out photographs, for fits of three seeds; with
``--quick`` it takes a look in less than a minute.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from landscape_opt import LandscapeInverter, LearnedLandscape
from landscape_opt.applications import pose
from landscape_opt.applications.pose.comparison import as_table, best_of, figures, fit_in_rounds
from landscape_opt.applications.pose.pictures import curves, draw_hypotheses
from landscape_opt.applications.pose.rivals import METHODS, Fitter, Regression, by_landscape, lbfgs, plain, tuned
from landscape_opt.hypotheses import Given

FLOOR, DOOR_HANDLE = 0.95, torch.tensor([0.15, 0.0, 4.0])  # m, in the frame of the camera
body = pose.SkinnedBody()


def learned(model, generator, settings, rounds, seed):
    """A landscape of the model, fitted to photographs that it simulates."""
    train = pose.Photographs.of(pose.sample_people(body, settings.train, generator), body, model.cameras, generator)
    inverter = LandscapeInverter(LearnedLandscape(model, model.x_init), pose.keypoint_loss(), seed=seed)
    return fit_in_rounds(inverter, train.target(model), rounds), train


def compare(tables, sets, methods):
    """Add the figures of every method on every set to the tables."""
    for title, seen in sets.items():
        for method in methods:
            tables.setdefault(title, {}).setdefault(method.name, []).append(figures(method, seen))
            print(f"{title}, {method.name}: {tables[title][method.name][-1]}", flush=True)


def constraints(model, inverter, people, generator):
    """What a floor and a door handle that no fit knew of are worth."""
    feet = people.joints(body)[:, [10, 11], 1].amax(1)
    wrist = people.joints(body)[:, 20]
    settings = {
        "feet on the floor": (torch.stack([0 * feet, FLOOR - feet, 0 * feet], 1), pose.OnFloor(model, FLOOR)),
        "left hand on the handle": (DOOR_HANDLE - wrist, pose.AtPoint(model, "left wrist", DOOR_HANDLE)),
    }
    for name, (shift, term) in settings.items():
        seen = pose.Photographs.of(people.moved(shift), body, model.cameras, generator)
        for with_it in (False, True):
            result = inverter.invert(seen.target(model), 20, extra_terms=[term] if with_it else [])
            joints = model.joints(result.x)
            away = term.away(joints[:, term.places]).reshape(len(seen), -1).norm(dim=1).mean()
            where, error = (joints - seen.joints).norm(dim=2).mean(), pose.mpjpe(joints, seen.joints).mean()
            asked = "yes" if with_it else "no"
            print(f"| {name} | {asked} | {error:.1f} | {1000 * where:.1f} | {1000 * away:.1f} |", flush=True)


def sequence(model, inverter, staged, num_frames, generator):
    """A person who walks, frame by frame: warm from the last frame with a temporal term, against cold."""
    seen = pose.Photographs.of(pose.walking(body, num_frames, generator), body, model.cameras, generator, noise=5.0)
    began = time.process_time()
    before = last = inverter.invert(model.targets(seen.keypoints[:1]), 20, num_hypotheses=10).x  # others begin there
    errors = [pose.mpjpe(model.joints(last), seen.joints[:1])]
    for frame in range(1, num_frames):
        guess = {name: part + 0.7 * (part - before[name]) for name, part in last.items()}  # going on as before, nearly
        target = model.targets(seen.keypoints[frame : frame + 1])
        own = inverter.invert(target, 0).x  # where it would begin without a frame before, should that have been wrong
        starts = Given({name: torch.stack([guess[name], own[name]], dim=1) for name in own})
        options = {"num_hypotheses": 2, "starts": starts, "extra_terms": [pose.NearLast(model, model.joints(guess))]}
        before, last = last, inverter.invert(target, 5, **options).x
        errors.append(pose.mpjpe(model.joints(last), seen.joints[frame : frame + 1]))
    warm = 1000 * (time.process_time() - began) / num_frames
    print(f"| warm and own start, 5 evaluations each, temporal term | {torch.cat(errors).mean():.1f} | {warm:.0f} |")
    cold = [by_landscape(f"landscape, cold, {count} evaluations", inverter, model, count) for count in (5, 20)]
    for fitter in (*cold, staged):
        alone = [figures(fitter, seen.first(1)).milliseconds for _ in range(3)]  # a frame at a time, as they come
        print(f"| {fitter.name} | {figures(fitter, seen).mpjpe:.1f} | {sorted(alone)[1]:.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description="3D human pose from 2D keypoints.")
    parser.add_argument("--quick", action="store_true", help="one seed, few targets, a short fit")
    parser.add_argument("--out", type=Path, default=Path("pose"), help="folder for the pictures")
    parser.add_argument("--rounds", type=int, help="of fitting each landscape")
    settings = parser.parse_args()
    seeds, settings.targets, settings.frames, limit = ((0,), 12, 5, 60) if settings.quick else ((0, 1, 2), 300, 200, 300)
    settings.train, rounds = (1024, settings.rounds or 3) if settings.quick else (16384, settings.rounds or 300)

    generator = torch.Generator().manual_seed(1234)
    mixture = pose.PoseMixture.fit(pose.sample_people(body, 3000, generator).pose)
    model = pose.KeypointModel(body, space=pose.LimitedAngles(body, mixture))
    latent = pose.KeypointModel(body, space=pose.LatentAngles(body))
    validation = pose.Photographs.of(pose.sample_people(body, 16, generator), body, model.cameras, generator)
    validation = validation.first(4 if settings.quick else 16)
    tried = {name: solvers[: 1 if settings.quick else None] for name, solvers in METHODS.items()}
    staged = [tuned(f"staged, {name}, {limit}", model, tried[name], validation, limit) for name in tried]
    staged.append(tuned(f"staged in the latent space, L-BFGS, {limit}", latent, [lbfgs(None)], validation, limit))

    generator = torch.Generator().manual_seed(4321)
    people = pose.sample_people(body, settings.targets, generator)
    full = pose.Photographs.of(people, body, model.cameras, generator)
    main_sets = {"complete": full, "50 % hidden": full.hidden(0.5, generator)}
    others = {"30 % hidden": full.hidden(0.3, generator), "70 % hidden": full.hidden(0.7, generator)}
    others |= {"8 px of noise": full.noisy(8.0, generator), "cut off": full.truncated(generator)}
    tables, margins = {}, {}
    alone = by_landscape(f"L-BFGS from the plain start, {limit}", plain(model), model, limit, allow_unfitted=True)
    compare(tables, main_sets, [*staged, alone])
    compare(tables, others, [staged[1]])
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        inverter, train = learned(model, generator, settings, rounds, seed)
        several = [by_landscape(f"landscape, {count}", inverter, model, count) for count in (5, 20)]
        compare(tables, main_sets, several)
        compare(tables, others, several[1:])
        for name, seen in main_sets.items():
            several = by_landscape("10 hypotheses", inverter, model, 20, num_hypotheses=10).fit(seen)
            found = pose.mpjpe(model.joints(several.x), full.joints).mean(), best_of(model, several, full.joints).mean()
            margins.setdefault(name, []).append(torch.stack(found))
        if seed == seeds[0]:
            seconds = sum(record.seconds for record in inverter.history)
            print(f"fitted for {seconds:.0f} s, the network as long, from the same photographs", flush=True)
            network = Regression.trained(model, train, seconds)
            compare(tables, main_sets, [network.fitter("network alone", 0)])
            compare(tables, {**main_sets, **others}, [network.fitter("network and L-BFGS, 20", 20)])
            draw_hypotheses(settings.out / "pose_hypotheses.png", model, several, seen)
            print("\n| constraint | asked for | MPJPE mm | absolute error mm | distance from it mm |")
            print("| --- | --- | ---: | ---: | ---: |")
            constraints(model, inverter, people, generator)
            print(f"\n| {settings.frames} frames | MPJPE mm | ms CPU a frame |\n| --- | ---: | ---: |")
            sequence(model, inverter, staged[1], settings.frames, generator)
    pair = pose.KeypointModel(body, [pose.PinholeCamera(), pose.PinholeCamera.from_the_side(90.0, 4.5)], model.space)
    inverter, _ = learned(pair, generator, settings, max(1, rounds // 2), 0)
    both = pose.Photographs.of(people, body, pair.cameras, generator)
    rival = Fitter(staged[1].name, replace(staged[1].fit, model=pair), pair)
    compare(tables, {"two views, one seed": both}, [by_landscape("landscape, 20", inverter, pair, 20), rival])
    for title, rows in tables.items():
        print("\n" + as_table(title, rows))
    for name, pairs in margins.items():
        chosen, best = torch.stack(pairs).mean(0)
        print(f"\n10 hypotheses, {name}: {chosen:.1f} mm with the lowest loss, {best:.1f} mm the best of them")
    lines = {name: [(one[0].evaluations, one[0].mpjpe)] for name, one in tables["50 % hidden"].items()}
    print("\npictures:", curves(settings.out / "pose_evaluations.png", "half of the keypoints hidden", lines))


if __name__ == "__main__":
    main()
