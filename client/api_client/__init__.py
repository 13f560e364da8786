"""The Earth2Studio SDK's names on top of `wildcast`, so that its users change nothing.

`api_client.e2client` opens a workflow's results as datasets, `api_client.client` submits, waits and downloads,
`api_client.object_storage` maps a signed URL; `api_client.models` and `api_client.exceptions` are what they speak.
Importing any of them needs neither Earth2Studio nor PyTorch.
"""
