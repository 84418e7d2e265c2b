# The platform of the receiver: network, cluster, registry, and the roles of what runs in the cluster.
# The table, the queue and everything of AWS IoT and Cognito belong to ../pulumi. The workload is ../k8s.

locals {
  tags = merge({ Project = "thingwright", Owner = "terraform", Cluster = var.cluster_name }, var.tags)

  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

# Key of what is encrypted here: Kubernetes secrets, logs, images.
resource "aws_kms_key" "platform" {
  description             = "Kubernetes secrets, logs and images of ${var.cluster_name}."
  enable_key_rotation     = true
  deletion_window_in_days = 7
  policy                  = data.aws_iam_policy_document.platform_key.json
}

resource "aws_kms_alias" "platform" {
  name          = "alias/${var.cluster_name}"
  target_key_id = aws_kms_key.platform.key_id
}

data "aws_iam_policy_document" "platform_key" {
  #checkov:skip=CKV_AWS_109:A key policy that does not give the account its key makes a key that nobody can change; IAM policies say who in the account may.
  #checkov:skip=CKV_AWS_111:The same; and "*" in a key policy is this key alone.
  #checkov:skip=CKV_AWS_356:The same; a key cannot name itself in its own policy before it exists.
  statement {
    sid       = "TheAccountOwnsTheKey"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${local.partition}:iam::${local.account_id}:root"]
    }
  }

  statement {
    sid       = "CloudWatchEncryptsTheseLogs"
    actions   = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey*", "kms:DescribeKey"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["logs.${var.region}.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values = [
        for name in [local.control_plane_log_group, local.flow_log_group] :
        "arn:${local.partition}:logs:${var.region}:${local.account_id}:log-group:${name}"
      ]
    }
  }
}
