# SPDX-License-Identifier: Apache-2.0
"""Waiting in Amaranth's simulator, in a way that a bench may leave unfinished at its end
(``ctx.tick().until()`` complains when it is dropped)."""


async def until(ctx, condition, *values) -> list:
    """Wait for the clock edge at which ``condition`` holds; returns ``values`` just before it."""
    while True:
        _clk, _rst, met, *now = await ctx.tick().sample(condition, *values)
        if met:
            return now


async def send(ctx, stream, payloads) -> None:
    """Give a stream payloads one after another, each a dictionary of the fields that are not as
    the one before left them."""
    for fields in payloads:
        for name, value in fields.items():
            ctx.set(stream.payload[name], value)
        ctx.set(stream.valid, 1)
        await until(ctx, stream.ready)
    ctx.set(stream.valid, 0)
