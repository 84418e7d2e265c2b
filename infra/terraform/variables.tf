variable "region" {
  description = "AWS region of everything here; the same as the Pulumi program's."
  type        = string
  default     = "us-east-2"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "The region has to be a name such as us-east-2."
  }
}

variable "cluster_name" {
  description = "Name of the EKS cluster. Every role's name begins with it, and roles are of the account: a second cluster, in whatever region, takes another name."
  type        = string
  default     = "demo-eks"

  validation {
    # 39: the name of a role has at most 64 characters, with "-load-balancer-controller" at its end.
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9-]{0,38}$", var.cluster_name))
    error_message = "The name of the cluster has 1 to 39 letters, digits and hyphens, and begins with a letter or digit."
  }
}

variable "kubernetes_version" {
  description = "Kubernetes version of the control plane and the nodes, as MAJOR.MINOR."
  type        = string
  default     = "1.35"

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version))
    error_message = "The version has to be MAJOR.MINOR, such as 1.35, without a patch number."
  }
}

variable "table_name" {
  description = "DynamoDB table of the readings: output tableName of the Pulumi program, which owns it."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{3,255}$", var.table_name))
    error_message = "The name of a table has 3 to 255 letters, digits, '_', '.' and '-'. It is the name, not the ARN."
  }
}

variable "public_access_cidrs" {
  description = "Who reaches the Kubernetes API from outside the VPC, as IPv4 networks; an empty list closes the public endpoint."
  type        = list(string)

  validation {
    condition     = alltrue([for cidr in var.public_access_cidrs : can(cidrnetmask(cidr))])
    error_message = "Each element has to be an IPv4 network such as 203.0.113.7/32."
  }

  validation {
    condition     = alltrue([for cidr in var.public_access_cidrs : try(tonumber(split("/", cidr)[1]) >= 8, false)])
    error_message = "A network larger than /8 is the whole internet in one or a few pieces: name the addresses that you use."
  }
}

variable "cluster_admin_arns" {
  description = "IAM users and roles that administer the cluster; empty: whoever runs terraform apply."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.cluster_admin_arns : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(user|role)/", arn))])
    error_message = "Each element has to be the ARN of an IAM user or role, not of a session."
  }
}

variable "vpc_cidr" {
  description = "Addresses of the VPC. Each zone gets an eighth of them for nodes and pods, and a 256th for load balancers."
  type        = string
  default     = "10.0.0.0/16"

  validation {
    # A /19 leaves a public subnet of /27, the smallest that a load balancer accepts.
    condition     = can(cidrnetmask(var.vpc_cidr)) && try(tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 19, false)
    error_message = "The network of the VPC has to be an IPv4 network of /16 to /19."
  }
}

variable "zone_count" {
  description = "Availability zones to spread over. EKS and load balancers need two."
  type        = number
  default     = 2

  validation {
    condition     = contains([2, 3, 4], var.zone_count)
    error_message = "The number of zones has to be 2, 3 or 4."
  }
}

variable "nat_gateway_per_zone" {
  description = "true: a NAT gateway in each zone, so that none depends on another; false: one for all, which costs less."
  type        = bool
  default     = false
}

variable "node_instance_types" {
  description = "Instance types of the nodes, in order of preference; x86-64, as the image is built."
  type        = list(string)
  default     = ["t3.large"]

  validation {
    condition     = length(var.node_instance_types) > 0
    error_message = "At least one instance type is needed."
  }
}

variable "node_count" {
  description = "Nodes: the fewest, how many to begin with, the most. Nothing here scales them by itself."
  type = object({
    min     = number
    desired = number
    max     = number
  })
  default = {
    min     = 2
    desired = 2
    max     = 4
  }

  validation {
    condition     = 1 <= var.node_count.min && var.node_count.min <= var.node_count.desired && var.node_count.desired <= var.node_count.max
    error_message = "1 <= min <= desired <= max has to hold."
  }
}

variable "node_disk_gib" {
  description = "Disk of a node in GiB, for images and logs. Prometheus has volumes of its own."
  type        = number
  default     = 30

  validation {
    condition     = var.node_disk_gib >= 20 && var.node_disk_gib <= 1000
    error_message = "The disk has to have 20 to 1000 GiB."
  }
}

variable "addon_versions" {
  description = "Versions of EKS add-ons by name, such as { vpc-cni = \"v1.21.1-eksbuild.1\" }; one that is not named gets EKS's default for the Kubernetes version. Output addon_versions says what runs: copy it here to pin it."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.addon_versions), ["aws-ebs-csi-driver", "coredns", "kube-proxy", "metrics-server", "vpc-cni"])) == 0
    error_message = "The add-ons are aws-ebs-csi-driver, coredns, kube-proxy, metrics-server and vpc-cni."
  }
}

variable "log_retention_days" {
  description = "Days that CloudWatch keeps the logs of the control plane and the network flows."
  type        = number
  default     = 30

  validation {
    condition     = contains([7, 14, 30, 60, 90, 180, 365], var.log_retention_days)
    error_message = "CloudWatch keeps logs for 7, 14, 30, 60, 90, 180 or 365 days (and others that are not offered here)."
  }
}

variable "tags" {
  description = "Further tags of every resource."
  type        = map(string)
  default     = {}
}
