"""What kinds of server there are, as far as their interfaces differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ponder.errors import PonderError
from ponder.lm.sampling_law import SamplingLaw


@dataclass(frozen=True)
class Kind:
    """How to talk to one kind of server.

    ``goes_on``: what makes it go on with the assistant's last message, None if nothing does.
    ``whole_stop``: what makes it leave a stop string in the text; then ``stopped_by`` is the field
    that says which string ended it. ``repeats``: a reply that went on comes with what it went on
    from. ``neutral``: settings of its own that would bend the law.
    ``tempered``: its log-probabilities are taken after the temperature. ``truncates``: it knows
    top_k and min_p.
    """

    name: str
    goes_on: Mapping[str, Any] | None = None
    whole_stop: Mapping[str, Any] | None = None
    stopped_by: str = ""
    repeats: bool = False
    neutral: Mapping[str, Any] | None = None
    tempered: bool = False
    truncates: bool = True

    def law(self, law: SamplingLaw) -> dict[str, Any]:
        """The fields that state a sampling law. Raises PonderError if the server has none for it.

        What a law leaves alone is sent too: servers have defaults of their own.
        """
        fields: dict[str, Any] = {"temperature": law.temperature, "top_p": law.top_p}
        if self.truncates:
            fields |= {"top_k": law.top_k or -1, "min_p": law.min_p, **(self.neutral or {})}
        elif law.top_k or law.min_p:
            raise PonderError(
                "this server is not known to have top_k and min_p; leave them out, or say what it "
                "is with ?continue=vllm, sglang or llama in its address"
            )
        return fields


_HF = {"add_generation_prompt": False, "continue_final_message": True}

KINDS = {
    "vllm": Kind(
        "vllm",
        goes_on=_HF,
        whole_stop={"include_stop_str_in_output": True},
        stopped_by="stop_reason",
        neutral={"repetition_penalty": 1.0},
    ),
    "sglang": Kind(
        "sglang",
        goes_on=_HF,
        whole_stop={"no_stop_trim": True},
        stopped_by="matched_stop",
        neutral={"repetition_penalty": 1.0},
        tempered=True,
    ),
    "llama": Kind(
        "llama",
        goes_on={},
        repeats=True,
        # Its own order has the temperature last, after what top-p and the others cut off.
        neutral={
            "repeat_penalty": 1.0,
            "samplers": ["temperature", "top_k", "top_p", "min_p"],
            "cache_prompt": True,
        },
    ),
    "none": Kind("none", truncates=False),
}
_OWNERS = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama"}
PROBES = {"version": ("version", "vllm"), "get_model_info": ("model_path", "sglang")}
"""Paths beside the API that only one kind has: the field that it answers, and which it is."""


def kind_by_owner(listed: Mapping[str, Any]) -> Kind | None:
    """The kind of server that a model of ``/v1/models`` betrays, if it does."""
    return KINDS.get(_OWNERS.get(str(listed.get("owned_by", "")).lower(), ""))


def context_of(listed: Mapping[str, Any]) -> int | None:
    """The tokens that a prompt and its reply may have, if the server says so."""
    meta = listed.get("meta")
    own = meta.get("n_ctx") if isinstance(meta, Mapping) else None
    found = listed.get("max_model_len") or own
    return found if isinstance(found, int) and found > 0 else None
