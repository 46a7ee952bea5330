"""The training step: fine-tunes the text encoder on relevance and price."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.images import component


@component("train")
def train(
    tables: Input[Dataset],
    encoder: Output[Model],
    metrics: Output[Metrics],
    preset: str = "standard",
    settings: str = "{}",
    checkpoints: str = "",
    seed: int = 0,
) -> None:
    """Fine-tune the encoder; a killed run resumes from its last checkpoint if checkpoints outlive the step.

    Args:
        tables: Folder of validated tables.
        encoder: Folder of the trained encoder.
        metrics: Last losses and scores on held-out queries; mean and spread over folds; scores of a student.
        preset: demo, standard or gpu.
        settings: JSON object of encoder settings that differ from the preset, such as {"schedule": {"epochs": 3}};
            {"student": {"layers": 3}} ships a distilled student of three layers and prints it beside its teacher;
            {"validation": {"folds": 5}} scores the settings on five folds of queries first, then trains on all of them.
        checkpoints: Folder that outlives the step; when empty, checkpoints lie beside the encoder.
        seed: Seed of batches, heads and dropout.
    """
    import json
    import shutil
    from pathlib import Path

    from fairtag.base.files import directory_atomic
    from fairtag.base.tables import read_tables
    from fairtag.base.text import item_texts
    from fairtag.data.derived_tables import impressions_derived
    from fairtag.encoder.config import preset as encoder_preset
    from fairtag.encoder.encoder import RoleText
    from fairtag.encoder.loop import Progress
    from fairtag.encoder.training import train_encoder
    from fairtag.encoder.training_data import without_hold_out

    def show(now: Progress) -> None:
        losses = ", ".join(f"{name} {value:.4f}" for name, value in now.losses.items())
        stage = f"{now.stage}, " if now.stage else ""
        pace = f"{now.tokens_per_second:,.0f} tokens/s, {now.seconds_left:.0f} s left"
        print(f"train: {stage}step {now.step}/{now.steps}, {losses}, {pace}", flush=True)

    config = encoder_preset(preset, {"seed": seed}, settings)
    shop = read_tables(Path(tables.path))
    out = Path(encoder.path)
    work = Path(checkpoints) / config.fingerprint()[:12] / shop.fingerprint()[:12] if checkpoints else out
    if not (work / "training_report.json").is_file():
        judgements, items, impressions = without_hold_out(shop)
        if judgements is None and (impressions is None or impressions_derived(shop.metadata)):
            print("train: no judgements and no logged pages say what fits a query: the encoder stays as it came")
            config = config.override({"tuning": {"method": "none"}, "schedule": {"max_steps": 0}})
        texts: list[RoleText] = [("item", text) for text in item_texts(items)]
        train_encoder(config, judgements, items, work, impressions=impressions, texts=texts, progress=show)
    if work != out:
        with directory_atomic(out) as folder:
            shutil.copytree(work, folder, dirs_exist_ok=True)
    report = json.loads((out / "training_report.json").read_text())
    for row in (report["losses"][-1:], report["evaluations"][-1:]):
        for name, value in (row[0] if row else {}).items():
            metrics.log_metric(name, value)
    if folds := report["cross_validation"]:
        for name, mean in folds["mean"].items():
            metrics.log_metric(f"folds_{name}", mean)
            metrics.log_metric(f"folds_{name}_deviation", folds["deviation"][name])
            before, spread = folds["untuned"][name], folds["deviation"][name]
            print(f"train: {folds['folds']} folds, {name} {mean:.4f} (deviation {spread:.4f}; untuned {before:.4f})")
    if student := report["distillation"]:
        for who in ("teacher", "student"):
            for name, value in {**student[who]["scores"], "milliseconds": student[who]["milliseconds"]}.items():
                metrics.log_metric(f"{who}_{name}", value)
            scores = "".join(f", {name} {value:.4f}" for name, value in student[who]["scores"].items())
            millions = student[who]["parameters"] / 1e6
            print(f"train: {who} {millions:.1f} M weights, {student[who]['milliseconds']:.2f} ms a query{scores}")
        print(f"train: the student ships; its mean cosine to the teacher is {student['mean_cosine']:.4f}")
    print(f"train: {report['steps']} steps on {report['device']} in {report['seconds']:.0f} s")
