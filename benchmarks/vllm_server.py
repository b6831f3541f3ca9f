"""Servers for ``vllm_cpu.py``: vLLM's, and llama.cpp's own; and the weights that vLLM reads.

vLLM's Python runs this file too, to convert a GGUF file, so only the standard library is imported
up here.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

SERVED = "smollm2"
FLAGS = "--no-enable-chunked-prefill --enable-prompt-tokens-details --enforce-eager --block-size 32"
OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


def convert(gguf: Path, folder: Path) -> None:
    """In vLLM's Python: a GGUF file as a Hugging Face folder, in float32."""
    from transformers import (  # type: ignore[import-not-found,unused-ignore]
        AutoModelForCausalLM,
        AutoTokenizer,
        GgufConfig,
    )

    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    plain = GgufConfig(dequantize=True)
    AutoModelForCausalLM.from_pretrained(**where, quantization_config=plain).save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)


def serve_llama(gguf: str, port: int) -> None:
    """llama.cpp's own server with 8 slots on half of the cores, until it is killed."""
    import xllamacpp  # type: ignore[import-not-found,import-untyped,unused-ignore]

    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.model_alias = gguf, {SERVED}
    parameters.n_parallel, parameters.n_ctx = 8, 8 * 512
    half = max(1, len(os.sched_getaffinity(0)) // 2)  # vLLM computes too
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = half
    parameters.hostnames, parameters.port = ["127.0.0.1"], port
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    signal.pause()


class Server:
    """A server on a free port of this machine, in a process group of its own."""

    def __init__(self, name: str, command: list[str], log: Path, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.root = f"http://127.0.0.1:{port}"
        self.began = time.monotonic()
        with log.open("w") as out:
            self.process = subprocess.Popen(
                [part.replace("PORT", str(port)) for part in command],
                env={**os.environ, **environment},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        while not self._up():
            if self.process.poll() is not None:
                raise SystemExit(f"{name} did not start; the end of {log}:\n{tail(log)}")
            time.sleep(0.5)
        self.seconds = time.monotonic() - self.began

    def count(self, metric: str) -> float:
        """The sum of one of vLLM's counters."""
        with urllib.request.urlopen(f"{self.root}/metrics", timeout=30) as found:
            lines = found.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(metric + "{"))

    def kill(self) -> None:
        """End it at once, with all its processes."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.root}/health", timeout=2) as found:
                return bool(found.status == 200)
        except OSError:
            return False


def tail(log: Path) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def start_vllm(python: str, folder: Path, log: Path, dtype: str, width: int) -> Server:
    """vLLM with what its CPU build needs; 1 GiB for what it has read."""
    module = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    place = ["--host", "127.0.0.1", "--port", "PORT", "--served-model-name", SERVED]
    sizes = ["--max-model-len", "2048", "--max-num-seqs", str(width), "--dtype", dtype]
    environment = {**OFFLINE, "VLLM_CPU_KVCACHE_SPACE": "1"}
    return Server("vLLM", [*module, *place, *sizes, *FLAGS.split()], log, **environment)


def start_llama(gguf: Path, log: Path) -> Server:
    """llama.cpp's server in this Python."""
    command = [sys.executable, __file__, "llama", str(gguf), "PORT"]
    return Server("llama.cpp's server", command, log)


if __name__ == "__main__":
    if sys.argv[1] == "convert":
        convert(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        serve_llama(sys.argv[2], int(sys.argv[3]))
