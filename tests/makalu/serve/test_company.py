# SPDX-License-Identifier: Apache-2.0
"""Who may be there with whom."""

import asyncio

from makalu.serve.company import Company


def test_one_alone_comes_in_when_all_have_left_and_before_those_that_come_later():
    async def test():
        company, said, leave = Company(), [], asyncio.Event()

        async def other(name):
            async with company.among_others():
                said.append(name)
                await leave.wait()

        async def single():
            async with company.alone():
                said.append("alone")
                await asyncio.sleep(0)
                said.append("leaves")

        early = [asyncio.create_task(other(k)) for k in (1, 2)]
        await asyncio.sleep(0)
        late = [asyncio.create_task(single()), asyncio.create_task(other(3))]
        for _ in range(5):
            await asyncio.sleep(0)
        assert said == [1, 2]
        leave.set()
        await asyncio.gather(*early, *late)
        assert said == [1, 2, "alone", "leaves", 3]

    asyncio.run(test())
