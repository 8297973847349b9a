"""A process that writes reports for a launcher or a flow, which `report_client` starts.

`python -m training.report.report_writer [--plots]` reads one request as JSON from each line of
input and prints its answer as JSON. It ends with its input, which whoever started it holds.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from training.report.plots.charts import import_plots
from training.report.report_client import PLOTS, TIMEOUT_S
from training.report.summary import summarise, table
from training.system.exit_status import DONE
from training.system.paths import Roots


def main(argv: list[str]) -> int:
    """Answer requests until there are no more; return the exit status."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    if PLOTS in argv:
        import_plots()
    with contextlib.suppress(BrokenPipeError):  # nobody is left to hear the answer
        for line in sys.stdin:
            signal.alarm(TIMEOUT_S)
            print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
            signal.alarm(0)
    return DONE


def answer(request: Mapping[str, Any]) -> dict[str, str]:
    """Return what a request asks for: the report's path, or the table; or why there is none.

    `said` is what there is to say of a report: plots that could not be drawn.
    """
    experiment = (
        Roots(**request["roots"]),
        request["exp_name"],
        request["scenes"],
        request["output_subdir"],
    )
    if request["what"] == "table":
        return {"table": table(*experiment, width=request["width"])}
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            return {"report": str(summarise(*experiment).report), "said": said.getvalue()}
        except OSError as error:
            return {"error": str(error), "said": said.getvalue()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
