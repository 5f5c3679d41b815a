# SPDX-License-Identifier: Apache-2.0
"""What a token costs with contexts of several lengths: the table of docs/generation.md."""

import makalu
from examples.transformers import TEXT
from makalu import facts
from makalu.text import percent

CONFIGS, CONTEXTS = ("core256_fp", "core1024_fp"), (64, 128, 240)


def main() -> None:
    print("| machine | context | one token | roofline | share | 16 tokens of a prompt | share |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for config in CONFIGS:
        for context in CONTEXTS:
            one = makalu.decoder(TEXT, config, context=context, host=("all",))
            cells = [config, str(context)]
            for entry in (one, *one.entries):
                cycles = sum(entry.predicted_cycles)
                share = percent(facts.share(entry.roofline_cycles, cycles))
                roofline = [f"{entry.roofline_cycles:,}"] if entry is one else []
                cells += [f"{cycles:,}", *roofline, share]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
