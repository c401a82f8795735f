"""Tasks: what an example, a loss and a score are. The union is the registry."""

from typing import Annotated

from kakehashi.config import Family
from kakehashi.tasks.language_model import LanguageModel
from kakehashi.tasks.translation import Translation

TaskConfig = Annotated[Translation | LanguageModel, Family()]
