"""What `pulumi up --policy-pack infra/policy` runs, with the Python that PulumiPolicy.yaml names."""

from lakehouse.policy_pack import serve

serve()
