"""The memories of a node: what is reserved in each, and where there is room for a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from modelmora.messages import DeviceKind
from modelmora.scheduling.device import Device, Need, ram
from modelmora.scheduling.placement import Option, choose, combined
from modelmora.scheduling.policy import Policy
from modelmora.scheduling.residency import Plan, Resident, Verdict, make_room, overrun
from modelmora.scheduling.state import Model, Replica, pins, resident

Reserved = Counter[str]
"""Bytes that were promised, by the id of the device."""
NOTHING: Reserved = Counter()
NOWHERE = Option(ram(0), Need(0), Plan(Verdict.NEVER), 0.0, 0, before=False)
"""What a model is told that may be only on devices which the node does not have."""


class Ledger:
    """What the replicas hold, device by device.

    A replica's bytes count from the moment its load is ordered until its exit is reported, so a
    load never starts on memory that is not back.
    """

    def __init__(self, replicas: Mapping[int, Replica], policy: Policy) -> None:
        self._replicas = replicas
        self._policy = policy
        self._devices = policy.devices

    @property
    def most(self) -> Need:
        """What a replica could have at most."""
        budgets = (one.budget_bytes for one in self._devices if one.kind is DeviceKind.CUDA)
        return Need(self._devices[0].budget_bytes, max(budgets, default=0))

    def fits(self, model: Model) -> bool:
        """Whether any device could hold the model if it were alone with the pinned ones.

        That is whether `place` has another verdict than never; asked for all models at once.
        """
        if model.replicas:
            return True
        pinned = [child for child in self._replicas.values() if pins(child)]
        return any(self.could_hold(model, kind, pinned) for kind in model.spec.devices)

    def could_hold(self, model: Model, kind: DeviceKind, beside: Collection[Replica] = ()) -> bool:
        """Whether a replica fits a device of this kind that nobody else is on but these."""
        need = model.need(kind)
        return any(
            all(
                taken + sum(child.holds(memory) for child in beside) <= memory.budget_bytes
                for memory in self._devices
                if (taken := memory.bytes_of(need, one))
            )
            for one in self._devices
            if one.kind is kind
        )

    def place(
        self, model: Model, now: float, reserved: Reserved = NOTHING, *, aged: bool = False
    ) -> Option:
        """Where the next replica of the model would go, and by what plan."""
        held = {memory.id: self._residents(memory, now) for memory in self._devices}
        options = []
        for kind in model.spec.devices:
            need = model.need(kind)
            for device in (one for one in self._devices if one.kind is kind):
                plans = [
                    make_room(taken, memory.budget_bytes, held[memory.id],
                              reserved=reserved[memory.id], aged=aged)
                    for memory in self._devices
                    if (taken := memory.bytes_of(need, device))
                ]  # fmt: skip
                plan = combined(plans)
                leave = (self._replicas[one] for one in plan.leave)
                loss = sum(one.model.worth(one, now) for one in leave)
                free = device.budget_bytes - sum(one.bytes for one in held[device.id])
                before = model.was_on == device
                options.append(Option(device, need, plan, loss, free, before))
        return choose(options) if options else NOWHERE

    def reserve(self, reserved: Reserved, option: Option) -> None:
        """Promise the room, so that no later claim takes it."""
        for memory in self._devices:
            reserved[memory.id] += memory.bytes_of(option.need, option.device)

    def overrun(self, now: float) -> list[int]:
        """The idle replicas that leave because others have grown beyond a budget."""
        leave: list[int] = []
        for memory in self._devices:
            held = sum(child.holds(memory) for child in self._replicas.values())
            if held > memory.budget_bytes:
                leave += overrun(memory.budget_bytes, self._residents(memory, now))
        return leave

    def _residents(self, memory: Device, now: float) -> list[Resident]:
        """Everything in this memory, as `residency` sees it."""
        return [
            resident(child, memory, self._policy, now)
            for child in self._replicas.values()
            if child.holds(memory)
        ]
