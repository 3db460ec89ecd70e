"""Self-awareness SFT (paper, §3.2.2): the model learns to say what its examples say, and nothing of the prompts."""

from pathlib import Path
from typing import Any

from routers.disrouter.examples import Examples
from routers.disrouter.training import Recipe, arguments, lora

_IGNORED = -100  # the label of tokens that nothing is learnt from


def trainer(recipe: Recipe, model: Any, tokenizer: Any, examples: Examples, work: Path) -> Any:
    """Return TRL's SFTTrainer over the examples: cross-entropy of the tokens of completions, in the chat template.

    Without a GPU, TRL 1.16 makes the logits of prompts too, and several passes over them, which takes most of the time
    of a small model with a large vocabulary. There the same loss is taken from the logits of completions alone.
    """
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    class OfCompletions(SFTTrainer):  # type: ignore[misc]  # which has no types
        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            if return_outputs:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            return completion_loss(model, inputs, num_items_in_batch)

    told = [
        {"prompt": [{"role": "user", "content": asked}], "completion": [{"role": "assistant", "content": said}]}
        for asked, said in examples.table[["prompt", "completion"]].itertuples(index=False)
    ]
    config = SFTConfig(
        **arguments(recipe, work, recipe.batch_size), completion_only_loss=True, max_length=None, packing=False
    )
    made = SFTTrainer if torch.cuda.is_available() else OfCompletions
    return made(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(told),
        processing_class=tokenizer,
        peft_config=lora(recipe),
    )


def completion_loss(model: Any, inputs: dict[str, Any], n_tokens: Any = None) -> Any:
    """Return the summed cross-entropy of the labelled tokens over `n_tokens`, by default over how many they are.

    `inputs` holds `labels` and `input_ids`, each (batch, length), and what else the model is given; labels are those of
    the tokens at the same place. Only logits of places before which some row has a label are made.
    """
    from torch.nn.functional import cross_entropy

    labels = inputs["labels"][:, 1:]
    places = (labels != _IGNORED).any(dim=0).nonzero().squeeze(-1)
    given = {name: values for name, values in inputs.items() if name != "labels"}
    logits = model(**given, use_cache=False, logits_to_keep=places).logits
    wanted = labels[:, places]
    learnt = wanted != _IGNORED
    total = cross_entropy(logits[learnt].float(), wanted[learnt], reduction="sum")
    return total / (learnt.sum() if n_tokens is None else n_tokens)
