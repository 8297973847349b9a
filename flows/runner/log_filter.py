"""Drop those of Prefect's messages about task runs that repeat the flow run's own log."""

from __future__ import annotations

import logging

from flows.adapters.prefect_adapter import TASK_RUN_LOGGER
from flows.runner.tasks import NotStartedError, SceneNotDoneError

REPORTED_ERRORS = (SceneNotDoneError, NotStartedError)
"""How a scene ended: the flow run's log says it (`flows.run_page.content.ended_line`)."""


class TaskLogFilter(logging.Filter):
    """Drops messages about hooks and states, and tracebacks of scenes that failed."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record says something that is not in the log already."""
        error = record.exc_info[1] if record.exc_info else None
        return record.levelno > logging.INFO and not isinstance(error, REPORTED_ERRORS)


def install_task_log_filter() -> None:
    """Filter the messages about task runs in this process; may be called again."""
    logger = logging.getLogger(TASK_RUN_LOGGER)
    if not any(isinstance(each, TaskLogFilter) for each in logger.filters):
        logger.addFilter(TaskLogFilter())
