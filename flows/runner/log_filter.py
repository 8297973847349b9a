"""Of what Prefect logs about task runs only what the run's own log lines do not say."""

from __future__ import annotations

import logging

from flows.runner.tasks import NotStartedError, SceneNotDoneError

LOGGER = "prefect.task_runs"
TOLD = (SceneNotDoneError, NotStartedError)
"""How a scene ended: the run's log has it in words, `flows.run_page.content.ended_line`."""


class TaskLogFilter(logging.Filter):
    """Drops the chatter about hooks and states, and tracebacks of scenes that failed."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record says something new."""
        error = record.exc_info[1] if record.exc_info else None
        return record.levelno > logging.INFO and not isinstance(error, TOLD)


def install_task_log_filter() -> None:
    """Have Prefect keep the rest to itself, in this process."""
    logger = logging.getLogger(LOGGER)
    if not any(isinstance(each, TaskLogFilter) for each in logger.filters):
        logger.addFilter(TaskLogFilter())
