"""Import torchmetrics without matplotlib, which takes twice as long to import as all the rest.

torchmetrics would import it for plots of its own wherever it is installed. What must stay true of
torchmetrics for this is held by `tests/contracts/test_torch.py`.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

SWITCHES = "torchmetrics.utilities.imports"
"""Its module that says which optional packages are installed."""


def image_functions() -> ModuleType:
    """Return `torchmetrics.functional.image`; torchmetrics plots nothing from then on."""
    if "torchmetrics" not in sys.modules:
        _switch_off_plots()
    import torchmetrics.functional.image

    return torchmetrics.functional.image


def _switch_off_plots() -> None:
    """Import the one module ahead of its package, and have it say that there is no matplotlib."""
    package = importlib.util.find_spec("torchmetrics")
    for folder in (package and package.submodule_search_locations) or ():
        path = Path(folder, "utilities", "imports.py")
        spec = importlib.util.spec_from_file_location(SWITCHES, path)
        if path.is_file() and spec and spec.loader:
            switches = sys.modules[SWITCHES] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(switches)
            vars(switches)["_MATPLOTLIB_AVAILABLE"] = False
