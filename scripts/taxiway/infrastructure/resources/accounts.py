"""Service accounts and their keys."""

# ruff: noqa: ARG002 - all resource types share one signature.
from __future__ import annotations

from taxiway.infrastructure.api import Api, segment
from taxiway.infrastructure.resources.base import Inputs, Kind, Outputs


class Account(Kind):
    """`gcp:serviceaccount/account:Account`."""

    fixed = ("accountId", "project")

    def title(self, inputs: Inputs) -> str:
        """Return its id."""
        return f"service account {inputs['accountId']}"

    def outputs(self, inputs: Inputs) -> tuple[str, Outputs]:
        """Return its address."""
        email = f"{inputs['accountId']}@{inputs['project']}.iam.gserviceaccount.com"
        name = f"projects/{inputs['project']}/serviceAccounts/{email}"
        return name, {**inputs, "name": name, "email": email, "member": f"serviceAccount:{email}"}

    def desired(self, inputs: Inputs) -> Outputs:
        """Return its texts."""
        return {name: inputs.get(name, "") for name in ("displayName", "description")}

    def apply(self, api: Api, inputs: Inputs, known: Outputs) -> Outputs:
        """Create or patch it."""
        body = self.desired(inputs)
        account = self.observe(api, inputs, known)
        if account is None:
            collection = f"{api.iam}/projects/{segment(inputs['project'])}/serviceAccounts"
            account = api.send("POST", collection, {"accountId": inputs["accountId"], "serviceAccount": body})
        else:
            patch = {"serviceAccount": body, "updateMask": "displayName,description"}
            api.send("PATCH", self._url(api, inputs), patch)
        return {"uniqueId": account.get("uniqueId", "")}

    def observe(self, api: Api, inputs: Inputs, known: Outputs) -> Outputs | None:
        """Return the account; the API leaves empty texts out."""
        account = api.get(self._url(api, inputs))
        return account if account is None else {"displayName": "", "description": "", **account}

    def delete(self, api: Api, inputs: Inputs, known: Outputs) -> None:
        """Remove it with its keys."""
        api.delete(self._url(api, inputs))

    def _url(self, api: Api, inputs: Inputs) -> str:
        return f"{api.iam}/{self.outputs(inputs)[0]}"


class Key(Kind):
    """`gcp:serviceaccount/key:Key`. The API shows its private half once: the engine keeps it, encrypted."""

    fixed = ("serviceAccountId",)

    def title(self, inputs: Inputs) -> str:
        """Return whose it is."""
        return f"key of {inputs['serviceAccountId'].rsplit('/', 1)[-1]}"

    def outputs(self, inputs: Inputs) -> tuple[str, Outputs]:
        """Return what stands for a key that does not exist yet: base64 of an empty JSON object."""
        name = f"{inputs['serviceAccountId']}/keys/planned"
        return name, {**inputs, "name": name, "privateKey": "e30="}

    def desired(self, inputs: Inputs) -> Outputs:
        """Nothing about a key can be changed."""
        return {}

    def apply(self, api: Api, inputs: Inputs, known: Outputs) -> Outputs:
        """Return the key of the last time where it still exists, else a new one."""
        if known.get("privateKey") and self.observe(api, inputs, known) is not None:
            return {"name": known["name"], "privateKey": known["privateKey"]}
        body = {"keyAlgorithm": "KEY_ALG_RSA_2048", "privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE"}
        key = api.send("POST", f"{api.iam}/{inputs['serviceAccountId']}/keys", body)
        return {"name": key["name"], "privateKey": key["privateKeyData"]}

    def observe(self, api: Api, inputs: Inputs, known: Outputs) -> Outputs | None:
        """Return the key's public half."""
        return api.get(f"{api.iam}/{known['name']}")

    def delete(self, api: Api, inputs: Inputs, known: Outputs) -> None:
        """Revoke it."""
        api.delete(f"{api.iam}/{known['name']}")
