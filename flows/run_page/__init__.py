"""What Prefect's UI shows of a flow run: artifacts for progress, scenes and report, and log lines.

`page.py` runs the thread that publishes; open it first. `page_state.py` knows how the scenes stand,
`content.py` and the modules named `*_artifact.py` write the texts, `artifacts.py` alone sends to
the server. May use `flows.adapters`, `flows.options`, `flows.parameters`, `training` and Prefect's
client.
"""
