# The EKS cluster, its nodes and its add-ons.

locals {
  # EKS makes this group by itself, with no end to what it keeps, unless it is there.
  control_plane_log_group = "/aws/eks/${var.cluster_name}/cluster"

  administrators = length(var.cluster_admin_arns) > 0 ? var.cluster_admin_arns : [data.aws_iam_session_context.current.issuer_arn]
}

# The role behind the session that runs Terraform: an access entry is for roles and users, not for sessions.
data "aws_iam_session_context" "current" {
  arn = data.aws_caller_identity.current.arn
}

resource "aws_cloudwatch_log_group" "control_plane" {
  #checkov:skip=CKV_AWS_338:A year of control plane logs of a demo would be paid for and never read; log_retention_days is the choice.
  name              = local.control_plane_log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.platform.arn
}

resource "aws_eks_cluster" "this" {
  #checkov:skip=CKV_AWS_39:kubectl and helm run outside the VPC; only public_access_cidrs get in, and an empty list closes the endpoint.
  name     = var.cluster_name
  role_arn = aws_iam_role.cluster.arn
  version  = var.kubernetes_version

  # The add-ons below are managed by EKS; without this line it would first install others of the same names.
  bootstrap_self_managed_addons = false
  enabled_cluster_log_types     = ["api", "audit", "authenticator", "controllerManager", "scheduler"]

  access_config {
    authentication_mode = "API"
    # Who administers the cluster stands below, as access entries that can be read and taken away.
    bootstrap_cluster_creator_admin_permissions = false
  }

  encryption_config {
    resources = ["secrets"]

    provider {
      key_arn = aws_kms_key.platform.arn
    }
  }

  upgrade_policy {
    # A version at the end of its standard support is upgraded, not kept at six times the price.
    support_type = "STANDARD"
  }

  vpc_config {
    subnet_ids              = [for subnet in aws_subnet.private : subnet.id]
    endpoint_private_access = true
    endpoint_public_access  = length(var.public_access_cidrs) > 0
    public_access_cidrs     = length(var.public_access_cidrs) > 0 ? var.public_access_cidrs : null
  }

  depends_on = [aws_cloudwatch_log_group.control_plane, aws_iam_role_policy.cluster, aws_iam_role_policy_attachment.cluster]
}

resource "aws_iam_role" "cluster" {
  name               = "${var.cluster_name}-cluster"
  description        = "What the control plane of the cluster may do."
  assume_role_policy = data.aws_iam_policy_document.cluster_trust.json
}

data "aws_iam_policy_document" "cluster_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["eks.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/AmazonEKSClusterPolicy"
}

data "aws_iam_policy_document" "cluster" {
  statement {
    sid       = "EncryptSecrets"
    actions   = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:ListGrants"]
    resources = [aws_kms_key.platform.arn]
  }
}

resource "aws_iam_role_policy" "cluster" {
  name   = "encrypt-secrets"
  role   = aws_iam_role.cluster.id
  policy = data.aws_iam_policy_document.cluster.json
}

resource "aws_eks_access_entry" "administrator" {
  for_each = toset(local.administrators)

  cluster_name  = aws_eks_cluster.this.name
  principal_arn = each.key
}

resource "aws_eks_access_policy_association" "administrator" {
  for_each = aws_eks_access_entry.administrator

  cluster_name  = aws_eks_cluster.this.name
  principal_arn = each.value.principal_arn
  policy_arn    = "arn:${local.partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"

  access_scope {
    type = "cluster"
  }
}

resource "aws_eks_node_group" "this" {
  cluster_name    = aws_eks_cluster.this.name
  node_group_name = "nodes"
  node_role_arn   = aws_iam_role.node.arn
  subnet_ids      = [for subnet in aws_subnet.private : subnet.id]
  version         = var.kubernetes_version
  ami_type        = "AL2023_x86_64_STANDARD"
  capacity_type   = "ON_DEMAND"
  instance_types  = var.node_instance_types

  launch_template {
    id      = aws_launch_template.node.id
    version = aws_launch_template.node.latest_version
  }

  scaling_config {
    min_size     = var.node_count.min
    desired_size = var.node_count.desired
    max_size     = var.node_count.max
  }

  update_config {
    max_unavailable = 1
  }

  # A node is ready when it has a network. The ways to the internet come first too, and so go last: without them nodes
  # fetch no image and, on the way down, detach no disk and give no network interface back.
  depends_on = [
    aws_eks_addon.before_nodes,
    aws_iam_role_policy_attachment.node,
    aws_route.private_to_internet,
    aws_route.public_to_internet,
    aws_route_table_association.private,
    aws_route_table_association.public,
  ]
}

resource "aws_launch_template" "node" {
  name        = "${var.cluster_name}-node"
  description = "Nodes of ${var.cluster_name}."

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = var.node_disk_gib
      encrypted             = true
      delete_on_termination = true
    }
  }

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
    # One hop: a pod does not reach the node's role, unless it shares the node's network.
    http_put_response_hop_limit = 1
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume"])

    content {
      resource_type = tag_specifications.value
      tags          = merge(local.tags, { Name = "${var.cluster_name}-node" })
    }
  }
}

resource "aws_iam_role" "node" {
  name               = "${var.cluster_name}-node"
  description        = "What nodes of the cluster may do: join it and pull images."
  assume_role_policy = data.aws_iam_policy_document.node_trust.json
}

data "aws_iam_policy_document" "node_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each = toset(["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"])

  role       = aws_iam_role.node.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/${each.key}"
}

data "aws_eks_addon_version" "default" {
  for_each = toset(["aws-ebs-csi-driver", "coredns", "kube-proxy", "metrics-server", "vpc-cni"])

  addon_name         = each.key
  kubernetes_version = var.kubernetes_version
}

# On every node; no node becomes ready without them, so they come first.
resource "aws_eks_addon" "before_nodes" {
  for_each = {
    kube-proxy = { role_arn = null, configuration = null }
    vpc-cni = {
      role_arn = aws_iam_role.service_account["vpc-cni"].arn
      # Without it a NetworkPolicy is accepted and does nothing.
      configuration = jsonencode({ enableNetworkPolicy = "true" })
    }
  }

  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = each.key
  addon_version               = lookup(var.addon_versions, each.key, data.aws_eks_addon_version.default[each.key].version)
  configuration_values        = each.value.configuration
  service_account_role_arn    = each.value.role_arn
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"

  depends_on = [aws_iam_role_policy_attachment.addon]
}

# These are Deployments: they become active when there is a node to run on.
resource "aws_eks_addon" "on_nodes" {
  for_each = {
    coredns        = { role_arn = null, configuration = null }
    metrics-server = { role_arn = null, configuration = null }
    # Disks of Prometheus and Alertmanager. Without a default storage class their claims would wait for ever.
    aws-ebs-csi-driver = {
      role_arn      = aws_iam_role.service_account["ebs-csi-driver"].arn
      configuration = jsonencode({ defaultStorageClass = { enabled = true } })
    }
  }

  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = each.key
  addon_version               = lookup(var.addon_versions, each.key, data.aws_eks_addon_version.default[each.key].version)
  configuration_values        = each.value.configuration
  service_account_role_arn    = each.value.role_arn
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"

  # A Deployment without its role's policy would not become active in time.
  depends_on = [aws_eks_node_group.this, aws_iam_role_policy_attachment.addon]
}
