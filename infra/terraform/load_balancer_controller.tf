# What the AWS Load Balancer Controller may do. It is written here and not fetched, so that one `apply` makes all and
# nobody else's next edit changes it. It allows what one kind of thing needs, an Ingress of class alb with targets of
# type ip, and only in this cluster's name: Network Load Balancers, WAF, Shield, Cognito, mutual TLS and Global
# Accelerator are not allowed (the Helm values turn the controller's WAF and Shield off). Whoever wants those takes the
# policy that the controller's project publishes with each release, docs/install/iam_policy.json, in place of this one.

locals {
  # The controller tags all that it makes.
  cluster_tag = "elbv2.k8s.aws/cluster"

  # All of this account and region.
  load_balancing  = "arn:${local.partition}:elasticloadbalancing:${var.region}:${local.account_id}"
  load_balancers  = "${local.load_balancing}:loadbalancer/app/*/*"
  listeners       = "${local.load_balancing}:listener/app/*/*/*"
  listener_rules  = "${local.load_balancing}:listener-rule/app/*/*/*/*"
  target_groups   = "${local.load_balancing}:targetgroup/*/*"
  security_groups = "arn:${local.partition}:ec2:${var.region}:${local.account_id}:security-group/*"

  # The one of the nodes: it lets the load balancer's in.
  cluster_security_group = "arn:${local.partition}:ec2:${var.region}:${local.account_id}:security-group/${aws_eks_cluster.this.vpc_config[0].cluster_security_group_id}"
}

data "aws_iam_policy_document" "load_balancer_controller" {
  #checkov:skip=CKV_AWS_356:Only the first statement has "*": reads of EC2 and of load balancing, which know no resources.
  statement {
    sid = "Look"
    actions = [
      "acm:ListCertificates",
      "ec2:DescribeAccountAttributes",
      "ec2:DescribeAvailabilityZones",
      "ec2:DescribeInstances",
      "ec2:DescribeInternetGateways",
      "ec2:DescribeNetworkInterfaces",
      "ec2:DescribeRouteTables",
      "ec2:DescribeSecurityGroups",
      "ec2:DescribeSubnets",
      "ec2:DescribeTags",
      "ec2:DescribeVpcPeeringConnections",
      "ec2:DescribeVpcs",
      "ec2:GetSecurityGroupsForVpc",
      # Each release reads something more; all of it is about load balancers.
      "elasticloadbalancing:Describe*",
    ]
    resources = ["*"]
  }

  statement {
    sid       = "LookAtCertificates"
    actions   = ["acm:DescribeCertificate"]
    resources = ["arn:${local.partition}:acm:${var.region}:${local.account_id}:certificate/*"]
  }

  statement {
    sid       = "LetAwsMakeTheRoleOfLoadBalancing"
    actions   = ["iam:CreateServiceLinkedRole"]
    resources = ["arn:${local.partition}:iam::${local.account_id}:role/aws-service-role/elasticloadbalancing.amazonaws.com/*"]

    condition {
      test     = "StringEquals"
      variable = "iam:AWSServiceName"
      values   = ["elasticloadbalancing.amazonaws.com"]
    }
  }

  statement {
    sid       = "MakeSecurityGroupsInThisNetwork"
    actions   = ["ec2:CreateSecurityGroup"]
    resources = [aws_vpc.this.arn]
  }

  statement {
    sid       = "MakeSecurityGroupsOfThisCluster"
    actions   = ["ec2:CreateSecurityGroup"]
    resources = [local.security_groups]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/${local.cluster_tag}"
      values   = [var.cluster_name]
    }
  }

  statement {
    sid       = "TagSecurityGroupsWhileMakingThem"
    actions   = ["ec2:CreateTags"]
    resources = [local.security_groups]

    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values   = ["CreateSecurityGroup"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/${local.cluster_tag}"
      values   = [var.cluster_name]
    }
  }

  statement {
    sid       = "TagItsSecurityGroups"
    actions   = ["ec2:CreateTags", "ec2:DeleteTags"]
    resources = [local.security_groups]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/${local.cluster_tag}"
      values   = [var.cluster_name]
    }

    # What says whose they are stays as it is.
    condition {
      test     = "Null"
      variable = "aws:RequestTag/${local.cluster_tag}"
      values   = ["true"]
    }
  }

  statement {
    sid       = "ChangeItsSecurityGroups"
    actions   = ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress", "ec2:DeleteSecurityGroup"]
    resources = [local.security_groups]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/${local.cluster_tag}"
      values   = [var.cluster_name]
    }
  }

  statement {
    sid       = "LetLoadBalancersReachTheNodes"
    actions   = ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"]
    resources = [local.cluster_security_group]
  }

  # EC2 looks at the rule besides its group; it is the group that says whose it is.
  statement {
    sid       = "RulesOfThoseGroups"
    actions   = ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"]
    resources = ["arn:${local.partition}:ec2:${var.region}:${local.account_id}:security-group-rule/*"]
  }

  statement {
    sid       = "MakeLoadBalancersAndTargetGroups"
    actions   = ["elasticloadbalancing:CreateLoadBalancer", "elasticloadbalancing:CreateTargetGroup"]
    resources = [local.load_balancers, local.target_groups]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/${local.cluster_tag}"
      values   = [var.cluster_name]
    }
  }

  statement {
    sid       = "TagThemWhileMakingThem"
    actions   = ["elasticloadbalancing:AddTags"]
    resources = [local.load_balancers, local.target_groups]

    condition {
      test     = "StringEquals"
      variable = "elasticloadbalancing:CreateAction"
      values   = ["CreateLoadBalancer", "CreateTargetGroup"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/${local.cluster_tag}"
      values   = [var.cluster_name]
    }
  }

  statement {
    sid       = "TagItsLoadBalancersAndTargetGroups"
    actions   = ["elasticloadbalancing:AddTags", "elasticloadbalancing:RemoveTags"]
    resources = [local.load_balancers, local.target_groups]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/${local.cluster_tag}"
      values   = [var.cluster_name]
    }

    condition {
      test     = "Null"
      variable = "aws:RequestTag/${local.cluster_tag}"
      values   = ["true"]
    }
  }

  statement {
    sid = "ChangeItsLoadBalancersAndTargetGroups"
    actions = [
      "elasticloadbalancing:DeleteLoadBalancer",
      "elasticloadbalancing:DeleteTargetGroup",
      "elasticloadbalancing:DeregisterTargets",
      "elasticloadbalancing:ModifyListenerAttributes",
      "elasticloadbalancing:ModifyLoadBalancerAttributes",
      "elasticloadbalancing:ModifyTargetGroup",
      "elasticloadbalancing:ModifyTargetGroupAttributes",
      "elasticloadbalancing:RegisterTargets",
      "elasticloadbalancing:SetIpAddressType",
      "elasticloadbalancing:SetSecurityGroups",
      "elasticloadbalancing:SetSubnets",
    ]
    resources = [local.load_balancers, local.target_groups, local.listeners]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/${local.cluster_tag}"
      values   = [var.cluster_name]
    }
  }

  # By the kind of resource alone, as in the project's own policy: listeners and rules of every Application Load Balancer
  # of this account and region.
  statement {
    sid = "ChangeListenersAndRules"
    actions = [
      "elasticloadbalancing:AddListenerCertificates",
      "elasticloadbalancing:AddTags",
      "elasticloadbalancing:CreateListener",
      "elasticloadbalancing:CreateRule",
      "elasticloadbalancing:DeleteListener",
      "elasticloadbalancing:DeleteRule",
      "elasticloadbalancing:ModifyListener",
      "elasticloadbalancing:ModifyRule",
      "elasticloadbalancing:RemoveListenerCertificates",
      "elasticloadbalancing:RemoveTags",
      "elasticloadbalancing:SetRulePriorities",
    ]
    resources = [local.listeners, local.listener_rules]
  }

  statement {
    sid       = "AddListeners"
    actions   = ["elasticloadbalancing:CreateListener"]
    resources = [local.load_balancers]
  }
}

resource "aws_iam_role_policy" "load_balancer_controller" {
  name   = "application-load-balancers"
  role   = aws_iam_role.service_account["load-balancer-controller"].id
  policy = data.aws_iam_policy_document.load_balancer_controller.json
}
