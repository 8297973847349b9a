"""Train scenes as a Prefect flow: `python -m flows.train --help`.

Options and plan come first, without Prefect: a wrong option is told in a blink.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from flows.environment import forget_passwords, prefect_api, send_the_rest
from flows.options import FlowOptions
from preprocess.faults import Fault, FaultsError
from training.display import say
from training.execute import ending_bound_s, wait_until_ended
from training.plan import Plan
from training.run import DONE, FAILED, INTERRUPTED, header, run_command, write_summary
from training.summary import table

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State


def main(argv: Sequence[str] | None = None) -> int:
    """Plan and run; exit status 0 only if every chosen scene is done."""
    return run_command(argv, FlowOptions, "python -m flows.train", launch)


def launch(options: FlowOptions, plan: Plan) -> int:
    """Run a plan as a flow; raises FaultsError when Prefect's API can't be had."""
    if options.cluster == "slurm":
        what, remedy = "this version has no Slurm cluster yet", "use --cluster local"
        raise FaultsError([Fault(what, "--cluster slurm", remedy)])
    _hang_up_as_interrupt()
    say(header(plan))
    with prefect_api(plan.roots.state_root, verbose=options.verbose) as api:
        from flows.flow import made_plans, train_scenes  # while the server starts

        api.wait_until_ready()
        forget_passwords()
        made_plans[options] = plan
        # Typed by hand: Prefect's types give up on a flow that itself returns a state.
        state: State[Any] = cast("Any", train_scenes)(**options.model_dump(), return_state=True)
        send_the_rest()
    if state.is_cancelled():
        wait_until_ended(plan.of("run"), max(map(ending_bound_s, plan.scenes)))
        write_summary(plan)
    say(table(plan.roots, plan.exp_name, [scene.name for scene in plan.scenes]))
    say(f"flow run: {state.name}, {state.message}")
    if state.is_cancelled():
        return INTERRUPTED
    return DONE if state.is_completed() else FAILED


def _hang_up_as_interrupt() -> None:
    """A closed terminal stops the flow as Ctrl-C does; under nohup it does not."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.default_int_handler)


if __name__ == "__main__":
    sys.exit(main())
