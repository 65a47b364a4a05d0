"""What is said of an assistant, gathered from everywhere it is said."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from storage.assistants import PostgresAssistants, Speaking
from storage.directory import Directory
from tenancy.assistant import DEFAULT, DRAFT, Chosen, is_name, speech
from tenancy.errors import NotFound
from tenancy.ids import SubjectId
from tenancy.personalisation import Layer, Source, resolve
from tenancy.principal import Principal, Scope
from tenancy.tenant import Tenant

NO_ASSISTANT = "No such assistant."


@dataclass(frozen=True, slots=True)
class Personalities:
    """Gathers the layers of a run: two from the directory's cache, two in one trip."""

    directory: Directory
    assistants: PostgresAssistants

    async def of_tenant(self, tenant: Tenant) -> Tenant:
        """The tenant as its assistants speak before one of them is chosen."""
        layers = await self._common(tenant)
        return replace(tenant, personal=resolve(layers))

    async def choose(
        self, tenant: Tenant, principal: Principal, name: str, context: Mapping[str, Any]
    ) -> tuple[Tenant, Chosen]:
        """The tenant as an assistant speaks with a user, and that assistant; raises `NotFound`."""
        draft = name.endswith(DRAFT)
        if draft and Scope.SETTINGS_WRITE not in principal.scopes:
            raise NotFound(NO_ASSISTANT)
        bare = name.removesuffix(DRAFT)
        chosen, layers = await self.layers(tenant, principal.subject_id, bare, draft=draft)
        layers.append(Layer(Source.REQUEST, context))
        return replace(tenant, personal=resolve(layers)), chosen

    async def layers(
        self, tenant: Tenant, subject_id: SubjectId, name: str, *, draft: bool = False
    ) -> tuple[Chosen, list[Layer]]:
        """An assistant, and all that is said of it with a user; raises `NotFound`."""
        if not is_name(name):
            raise NotFound(NO_ASSISTANT)
        found = await self.assistants.speaking(tenant.tenant_id, subject_id, name, draft=draft)
        chosen = await self._chosen(found, name, draft=draft)
        layers = await self._common(tenant)
        layers.append(Layer(Source.ASSISTANT, speech(chosen.content)))
        layers.append(Layer(Source.USER, found.preferences))
        return chosen, layers

    async def _chosen(self, found: Speaking, name: str, *, draft: bool) -> Chosen:
        """The tenant's own, else the one of that name which every tenant sees."""
        if found.chosen is not None:
            return found.chosen
        if draft:
            raise NotFound(NO_ASSISTANT)
        if name == DEFAULT:
            return Chosen()
        universal = (await self.directory.profiles()).assistants.get(name)
        if universal is None:
            raise NotFound(NO_ASSISTANT)
        return universal

    async def _common(self, tenant: Tenant) -> list[Layer]:
        profiles = (await self.directory.profiles()).says
        return [
            Layer(Source.PLATFORM, profiles.get("", {})),
            Layer(Source.PLAN, profiles.get(tenant.plan.plan_id, {})),
            Layer(Source.TENANT, tenant.preferences),
        ]
