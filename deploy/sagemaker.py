# SPDX-License-Identifier: Apache-2.0
"""A SageMaker endpoint that serves models with an image of this folder's Dockerfile.

One model, as a ``model.tar.gz`` of ``NAME/VERSION/model.onnx``::

    python deploy/sagemaker.py digits ACCOUNT.dkr.ecr.REGION.amazonaws.com/makalu \\
      arn:aws:iam::ACCOUNT:role/ROLE s3://BUCKET/digits.tar.gz

Several, each a ``.tar.gz`` of ``model.onnx`` (or ``VERSION/model.onnx``) under a prefix that ends
with a slash; a request names one in ``TargetModel``::

    python deploy/sagemaker.py many IMAGE ROLE s3://BUCKET/models/

Needs boto3 and the credentials of an account.
"""

import sys
from typing import Any

INSTANCE = "ml.c7i.xlarge"


def calls(name: str, image: str, role: str, models: str, instance: str = INSTANCE
          ) -> list[tuple[str, dict[str, Any]]]:
    """What is asked of SageMaker: methods of boto3's client and their arguments."""
    many = models.endswith("/")
    container = {
        "Image": image, "Mode": "MultiModel" if many else "SingleModel", "ModelDataUrl": models,
        "Environment": {"MAKALU_SERVE_FOLDER": "/opt/ml/models" if many else "/opt/ml/model",
                        "MAKALU_SERVE_POLL": "0"}}
    variant = {"VariantName": "makalu", "ModelName": name, "InstanceType": instance,
               "InitialInstanceCount": 1}
    return [
        ("create_model", {"ModelName": name, "ExecutionRoleArn": role,
                          "PrimaryContainer": container}),
        ("create_endpoint_config", {"EndpointConfigName": name, "ProductionVariants": [variant]}),
        ("create_endpoint", {"EndpointName": name, "EndpointConfigName": name})]


def main() -> None:
    """Create the endpoint that the command line asks for."""
    if len(sys.argv) != 5:
        sys.exit(f"usage: {sys.argv[0]} NAME IMAGE ROLE s3://MODELS")
    import boto3

    client = boto3.client("sagemaker")
    for method, arguments in calls(*sys.argv[1:]):
        getattr(client, method)(**arguments)
        print(method, "done")


if __name__ == "__main__":
    main()
