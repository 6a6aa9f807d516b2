"""moto's CloudFormation, taught the resource types of our template that it lacks."""

from typing import Any, ClassVar

from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel
from moto.secretsmanager.models import secretsmanager_backends

NAMES_ONLY = (
    "AWS::SQS::QueuePolicy",
    "AWS::SES::ConfigurationSet",
    "AWS::SES::ConfigurationSetEventDestination",
    "AWS::SES::Tenant",
    "AWS::SNS::TopicPolicy",
    "AWS::SNS::Subscription",
    "AWS::CloudWatch::Alarm",
    # moto has these, and would work the queue by them, with docker.
    "AWS::Lambda::Function",
    "AWS::Lambda::EventSourceMapping",
)


class NameOnly(CloudFormationModel):
    """A resource that has a name, and does nothing."""

    type_: ClassVar[str] = ""

    def __init__(self, name: str) -> None:
        self.physical_resource_id = name

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return False

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> "NameOnly":
        return cls(resource_name)

    @classmethod
    def update_from_cloudformation_json(cls, original_resource: "NameOnly", *_: Any) -> "NameOnly":
        return original_resource

    @classmethod
    def delete_from_cloudformation_json(cls, *_: Any) -> None:
        """Nothing is there."""

    def is_created(self) -> bool:
        return True


class Secret(NameOnly):
    """A secret of moto's Secrets Manager; without a value, as the template makes it."""

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> "Secret":
        backend = secretsmanager_backends[account_id][region_name]
        backend.create_secret(
            name=resource_name,
            secret_string="empty",
            secret_binary=None,
            description=None,
            tags=None,
            kms_key_id=None,
            client_request_token=None,
            replica_regions=[],
            force_overwrite=False,
        )
        return cls(backend.secrets[resource_name].arn)


def teach_moto() -> None:
    """May be called again. An update of a stack changes its parameters and no resource: moto would
    make anew even what a condition excludes."""
    parsing.ResourceMap.update = lambda *_, **__: None  # type: ignore[method-assign]
    models: dict[str, Any] = parsing.get_model_map()
    for name in NAMES_ONLY:
        made = type(name.replace("::", ""), (NameOnly,), {"cloudformation_type": lambda n=name: n})
        models[name] = made
    models["AWS::SecretsManager::Secret"] = Secret
