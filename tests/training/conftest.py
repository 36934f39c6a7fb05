import pytest

from noseprint.data.tables import read_train


@pytest.fixture
def table(demo):
    return read_train(demo)
