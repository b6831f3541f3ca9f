"""An evaluation with inspect-ai, the strategy by the model's name: see inspect.sh.

Inspect keeps each reply as it came in its log, the ``ponder`` object too;
``python inspect_task.py LOG.eval`` prints what every answer is worth.
"""

from __future__ import annotations

import sys

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.event import ModelEvent
from inspect_ai.log import read_eval_log
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import match
from inspect_ai.solver import generate

QUESTIONS = {
    "Ann has 3 apples and buys 4 more. How many apples has she now?": "7",
    "A bus has 20 seats and 8 are taken. How many seats are free?": "12",
    "A box holds 6 eggs. How many eggs do 5 boxes hold?": "30",
}


@task
def made_up_arithmetic() -> Task:
    """Three questions; the last number of the reply counts."""
    return Task(
        dataset=[Sample(input=text, target=answer) for text, answer in QUESTIONS.items()],
        solver=generate(),
        scorer=match(numeric=True),
        config=GenerateConfig(
            max_tokens=128, temperature=0.7, seed=1, extra_body={"ponder": {"kind": "number"}}
        ),
    )


def show(path: str) -> None:
    """What every answer in a log is worth; KeyError if a reply had no ``ponder`` object."""
    log = read_eval_log(path)
    assert log.status == "success", log.error and log.error.message
    for sample in log.samples or []:
        for event in sample.events:
            if isinstance(event, ModelEvent) and event.call and event.call.response:
                ponder = event.call.response["ponder"]
                print(f"{sample.target}: {ponder['answer']!r}, probability {ponder['probability']}")


if __name__ == "__main__":
    show(sys.argv[1])
