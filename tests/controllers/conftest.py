"""A real API server for the controllers."""

from collections.abc import Iterator

import pytest

from support.apiserver import ApiServer, assets


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    programs = assets()
    if programs is None:
        pytest.skip("no kube-apiserver: set KUBEBUILDER_ASSETS")
    with ApiServer(tmp_path_factory.mktemp("apiserver"), programs) as server:
        yield server
