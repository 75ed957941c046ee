"""The section `tracking` of a recipe: where a search reports its figures besides its run directory."""

from typing import Annotated

from pydantic import Field

from lth_deploy.config.validation import Section


class TensorBoardSpec(Section):
    """Event files of TensorBoard. folder: where; RUN/tensorboard if not given."""

    folder: str | None = None


class MlflowSpec(Section):
    """A run of MLflow. uri: of its store, a folder or sqlite:///FILE; RUN/mlflow.db if not given."""

    uri: str | None = None
    experiment: Annotated[str, Field(min_length=1)] = "lth-deploy"


class TrackingSpec(Section):
    """What follows a search. It changes nothing of the search, and is no part of a recipe's digest."""

    tensorboard: TensorBoardSpec | None = None
    mlflow: MlflowSpec | None = None
    callbacks: list[str] = Field([], description="names that installed packages have in lth_deploy.callbacks")
