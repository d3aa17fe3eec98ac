"""The options of `sharedris import beit3`."""

from __future__ import annotations

from pipeline.cli.import_options import ImportOptions

Options = ImportOptions
