# Roles of service accounts (IRSA): what a pod may do by the token of its service account, and nothing more.

locals {
  # Service account that may take each role on. The name in the trust policy is exact, without a wildcard.
  service_accounts = {
    receiver                 = { namespace = "apps", name = "iot-receiver", purpose = "iot-receiver" }
    load-balancer-controller = { namespace = "kube-system", name = "aws-load-balancer-controller", purpose = "load-balancer-controller" }
    cloudwatch-exporter      = { namespace = "monitoring", name = "prometheus-cloudwatch-exporter", purpose = "cloudwatch-exporter" }
    vpc-cni                  = { namespace = "kube-system", name = "aws-node", purpose = "vpc-cni" }
    ebs-csi-driver           = { namespace = "kube-system", name = "ebs-csi-controller-sa", purpose = "ebs-csi-driver" }
  }

  oidc_issuer = replace(aws_eks_cluster.this.identity[0].oidc[0].issuer, "https://", "")

  # Made of its name, since the table belongs to ../pulumi: this stack neither reads it nor needs it to be there.
  table_arn = "arn:${local.partition}:dynamodb:${var.region}:${local.account_id}:table/${var.table_name}"
}

# No thumbprint: AWS checks EKS's issuer by its own list of CAs.
resource "aws_iam_openid_connect_provider" "cluster" {
  url            = aws_eks_cluster.this.identity[0].oidc[0].issuer
  client_id_list = ["sts.amazonaws.com"]
}

data "aws_iam_policy_document" "service_account_trust" {
  for_each = local.service_accounts

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [aws_iam_openid_connect_provider.cluster.arn]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.oidc_issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.oidc_issuer}:sub"
      values   = ["system:serviceaccount:${each.value.namespace}:${each.value.name}"]
    }
  }
}

resource "aws_iam_role" "service_account" {
  for_each = local.service_accounts

  name               = "${var.cluster_name}-${each.value.purpose}"
  description        = "Of the service account ${each.value.name} in ${each.value.namespace} of ${var.cluster_name}."
  assume_role_policy = data.aws_iam_policy_document.service_account_trust[each.key].json
}

# The network and the disks of pods: policies of AWS, made for these add-ons. Roles of their own, so that the nodes' role,
# which the kubelet uses, need not have these permissions.
resource "aws_iam_role_policy_attachment" "addon" {
  for_each = {
    vpc-cni        = "AmazonEKS_CNI_Policy"
    ebs-csi-driver = "service-role/AmazonEBSCSIDriverPolicy"
  }

  role       = aws_iam_role.service_account[each.key].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/${each.value}"
}

# The receiver writes to that table and does nothing else. The file is also what the embedded target gives its receiver.
resource "aws_iam_role_policy" "receiver" {
  name   = "write-readings"
  role   = aws_iam_role.service_account["receiver"].id
  policy = templatefile("${path.module}/../receiver-policy.json", { TABLE_ARN = local.table_arn })
}

# What Prometheus's exporter reads: figures of queues, of the table and of AWS IoT. None of these actions knows resources.
data "aws_iam_policy_document" "cloudwatch_exporter" {
  #checkov:skip=CKV_AWS_356:CloudWatch's and the tagging API's reads have no resource to be restricted to.
  statement {
    sid       = "ReadFigures"
    actions   = ["cloudwatch:GetMetricData", "cloudwatch:GetMetricStatistics", "cloudwatch:ListMetrics", "tag:GetResources"]
    resources = ["*"]
  }
}

resource "aws_iam_role_policy" "cloudwatch_exporter" {
  name   = "read-figures"
  role   = aws_iam_role.service_account["cloudwatch-exporter"].id
  policy = data.aws_iam_policy_document.cloudwatch_exporter.json
}
