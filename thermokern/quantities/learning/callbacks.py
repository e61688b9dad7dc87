"""A monitor in the training loops of other libraries, which are imported when asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from thermokern.quantities.learning.training_log import TrainingMeasurement


class Monitor(Protocol):
    """What is called after a step."""

    def __call__(self, step: int, model: Any) -> TrainingMeasurement | None: ...


def lightning_callback(monitor: Monitor) -> Any:
    """For Lightning's ``Trainer(callbacks=[…])``, of ``lightning`` or of ``pytorch_lightning``."""
    try:
        from lightning.pytorch.callbacks import Callback
    except ImportError:
        try:
            from pytorch_lightning.callbacks import Callback
        except ImportError:
            raise ImportError("lightning: not installed: pip install 'thermokern[lightning]'") from None

    class TAEPCallback(Callback):  # type: ignore[misc]
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
            if not trainer.is_global_zero:
                return
            found = monitor(trainer.global_step, pl_module)
            if found is not None:
                for logger in trainer.loggers:
                    logger.log_metrics(found.scalars(), step=found.step)

    return TAEPCallback()


def trainer_callback(monitor: Monitor) -> Any:
    """For Hugging Face's ``Trainer(callbacks=[…])``."""
    try:
        from transformers import TrainerCallback
    except ImportError:
        raise ImportError("transformers: not installed: pip install 'thermokern[transformers]'") from None

    class TAEPCallback(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if state.is_world_process_zero:
                found = monitor(state.global_step, model)
                if found is not None:
                    state.log_history.append({"step": found.step, **found.scalars()})

    return TAEPCallback()


def accelerate_hook(monitor: Monitor, accelerator: Any) -> Callable[[int, Any], TrainingMeasurement | None]:
    """To be called as ``hook(step, model)`` with the model as ``accelerator.prepare`` gave it."""

    def hook(step: int, model: Any) -> TrainingMeasurement | None:
        if not accelerator.is_main_process:
            return None
        found = monitor(step, accelerator.unwrap_model(model))
        if found is not None:
            accelerator.log(found.scalars(), step=step)
        return found

    return hook
