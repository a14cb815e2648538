"""Which chat model the examples talk to: the one that is set, otherwise the offline stand-in.

``HOLDFAST_MODEL`` or ``HOLDFAST["MODEL"]`` is what LangChain's ``init_chat_model`` takes, such as
``openai:gpt-5-mini``; it needs the extra ``holdfast[models]`` and the provider's own package and key.
"""

from __future__ import annotations

from functools import lru_cache

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage

from holdfast.conf import settings
from holdfast.errors import ConfigurationError
from holdfast.graphs.examples.offline import MODEL_NAME, OfflineExtractiveModel


def model_name() -> str:
    """The model's name as it is set: part of every key under which an answer is cached."""
    return settings().MODEL or MODEL_NAME


def chat_model() -> BaseChatModel:
    """The model, made once a process. Raises ConfigurationError, which says what is to be installed."""
    return _made(model_name())


def ask(instruction: str, matter: str) -> str:
    """One question to the model: what to do, and with what. The answer is its text."""
    return str(chat_model().invoke([SystemMessage(instruction), HumanMessage(matter)]).text)


@lru_cache(maxsize=4)
def _made(name: str) -> BaseChatModel:
    if name == MODEL_NAME:
        return OfflineExtractiveModel()
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise ConfigurationError(
            f"The model {name!r} is set, but LangChain is not installed: pip install 'holdfast[models]', "
            "or unset HOLDFAST_MODEL to use the offline one.",
            setting="MODEL",
        ) from error
    try:
        made: BaseChatModel = init_chat_model(name)
    except ImportError as error:
        raise ConfigurationError(
            f"The model {name!r} needs its provider's package: {error}", setting="MODEL"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"The model {name!r} cannot be used: {error}", setting="MODEL") from error
    return made
