"""Drop those of Prefect's messages about a run that repeat what the flow itself logs."""

from __future__ import annotations

import logging

from flows.adapters.prefect_adapter import (
    FLOW_RUN_LOGGERS,
    TASK_RUN_LOGGER,
    CancelledRun,
    FailedRun,
    ObjectNotFound,
    is_own_line,
    says_final_state,
)
from flows.runner.tasks import NotStartedError, SceneNotDoneError

REPORTED_ERRORS = (SceneNotDoneError, NotStartedError)
"""How a scene ended: the flow run's log says it (`flows.run_page.content.ended_line`)."""
FINAL_STATES = (FailedRun, CancelledRun, ObjectNotFound)
"""What Prefect raises for a state that the flow has returned and logged; the last where the run was
deleted meanwhile."""


class TaskLogFilter(logging.Filter):
    """Drops messages about hooks and states, and tracebacks of scenes that failed."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record says something that is not in the log already."""
        if is_own_line(record):
            return True
        if says_final_state(record) or isinstance(_error(record), REPORTED_ERRORS):
            return False
        return record.levelno > logging.INFO


class FlowLogFilter(logging.Filter):
    """Drops the final state, whose message has no line breaks there, and tracebacks of it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record says something that is not in the log already."""
        return not (says_final_state(record) or isinstance(_error(record), FINAL_STATES))


def install_log_filters() -> None:
    """Filter the messages about task runs and flow runs in this process; may be called again."""
    _install(TaskLogFilter(), TASK_RUN_LOGGER)
    for name in FLOW_RUN_LOGGERS:
        _install(FlowLogFilter(), name)


def _install(wanted: logging.Filter, name: str) -> None:
    logger = logging.getLogger(name)
    if not any(isinstance(each, type(wanted)) for each in logger.filters):
        logger.addFilter(wanted)


def _error(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None
