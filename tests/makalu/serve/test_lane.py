# SPDX-License-Identifier: Apache-2.0
"""Which process each lane of a device has, and what is counted of its cores."""

from makalu.serve.lane import Joint
from makalu.serve.use import Use


class Link:
    """A link to a process with a number."""

    def __init__(self, process, lane):
        self.process, self.lane, self.killed = process, lane, False

    def kill(self):
        self.killed = True


def processes(lanes):
    made = []

    def begin():
        made.append([Link(len(made), k) for k in range(lanes)])
        return made[-1]

    return made, Joint(begin)


def test_lanes_share_a_process():
    made, joint = processes(3)
    links = [joint.link(k) for k in (2, 0, 1)]
    assert joint.begun == 1 and [(x.process, x.lane) for x in links] == [(0, 2), (0, 0), (0, 1)]


def test_one_that_lost_its_process_has_another_and_the_others_follow():
    made, joint = processes(3)
    for k in range(3):
        joint.link(k)
    assert joint.link(1).process == 1
    assert joint.link(0).process == 1 and joint.begun == 2
    # the second one dies before lane 2 has heard of the end of the first
    assert joint.link(1).process == 2 and made[1][2].killed
    assert [joint.link(k).process for k in (2, 0)] == [2, 2] and joint.begun == 3
    assert not any(link.killed for link in made[2])


def test_what_no_lane_has_taken_is_ended():
    made, joint = processes(2)
    joint.link(0)
    joint.close()
    assert [link.killed for link in made[0]] == [False, True]


def test_a_core_counts_the_share_of_a_batch_that_it_worked():
    use = Use()
    use.add(10.0, 14.0, 0.5, 3, "a")
    use.add(20.0, 21.0, 1.0, 1, "b")
    assert (use.jobs, use.seconds, use.program, use.busy) == (4, 3.0, "b", 0.0)
