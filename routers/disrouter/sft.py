"""Self-awareness SFT (paper, §3.2.2): the model learns to say what its examples say, and nothing of the prompts."""

from pathlib import Path
from typing import Any

from routers.disrouter.examples import Examples
from routers.disrouter.training import Recipe, arguments, lora


def trainer(recipe: Recipe, model: Any, tokenizer: Any, examples: Examples, work: Path) -> Any:
    """Return TRL's SFTTrainer over the examples: cross-entropy of the tokens of completions, in the chat template."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    told = [
        {"prompt": [{"role": "user", "content": asked}], "completion": [{"role": "assistant", "content": said}]}
        for asked, said in examples.table[["prompt", "completion"]].itertuples(index=False)
    ]
    config = SFTConfig(
        **arguments(recipe, work, recipe.batch_size), completion_only_loss=True, max_length=None, packing=False
    )
    return SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(told),
        processing_class=tokenizer,
        peft_config=lora(recipe),
    )
