"""What is said of an assistant, gathered from everywhere it is said."""

from dataclasses import dataclass, replace

from storage.assistants import PostgresAssistants
from storage.directory import Directory
from tenancy.assistant import DEFAULT, DRAFT, NO_ASSISTANT, Chosen, Wanted, is_name, speech
from tenancy.errors import NotFound
from tenancy.ids import SubjectId
from tenancy.personalisation import Layer, Source, resolve
from tenancy.principal import Principal, Scope
from tenancy.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Personalities:
    """Knows by heart what the deployment and the tenants say; the rest is read for each run."""

    directory: Directory
    assistants: PostgresAssistants

    async def of_tenant(self, tenant: Tenant) -> Tenant:
        """The tenant as its assistants speak before one of them is chosen."""
        return replace(tenant, personal=resolve(await self._common(tenant)))

    async def wanted(self, principal: Principal, name: str, *, goes_on: bool) -> Wanted:
        """The assistant that a run asks for; raises `NotFound` for what can be none.

        One that goes on after an interrupt names another assistant or goes on with that it had.
        """
        draft, bare = name.endswith(DRAFT), name.removesuffix(DRAFT)
        drafts = Scope.SETTINGS_WRITE in principal.scopes
        if not is_name(bare) or (draft and (bare == DEFAULT or not drafts)):
            raise NotFound(NO_ASSISTANT)
        goes_on = goes_on and name == DEFAULT
        if bare == DEFAULT and not goes_on:
            return Wanted()
        universal = (await self.directory.profiles()).assistants
        return Wanted(
            bare, draft=draft or (goes_on and drafts), goes_on=goes_on, universal=universal
        )

    async def layers(self, tenant: Tenant, subject_id: SubjectId, name: str) -> list[Layer]:
        """All that is said of an assistant in use, or of a draft; raises `NotFound`."""
        draft, bare = name.endswith(DRAFT), name.removesuffix(DRAFT)
        if not is_name(bare):
            raise NotFound(NO_ASSISTANT)
        found = await self.assistants.speaking(tenant.tenant_id, subject_id, bare, draft=draft)
        chosen = await self._universal(name) if found.chosen.is_default else found.chosen
        layers = await self._common(tenant)
        layers.append(Layer(Source.ASSISTANT, speech(chosen.content)))
        layers.append(Layer(Source.USER, found.preferences))
        return layers

    async def _universal(self, name: str) -> Chosen:
        """The default assistant, or the one of that slug which every tenant sees."""
        if name == DEFAULT:
            return Chosen()
        found = (await self.directory.profiles()).assistants.get(name)
        if found is None:
            raise NotFound(NO_ASSISTANT)
        return found

    async def _common(self, tenant: Tenant) -> list[Layer]:
        profiles = (await self.directory.profiles()).says
        return [
            Layer(Source.PLATFORM, profiles.get("", {})),
            Layer(Source.PLAN, profiles.get(tenant.plan.plan_id, {})),
            Layer(Source.TENANT, tenant.preferences),
        ]
