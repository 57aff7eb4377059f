from tests.workflow.conftest import team

__all__ = ["team"]
