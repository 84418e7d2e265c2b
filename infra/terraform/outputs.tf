output "region" {
  description = "AWS region of everything here."
  value       = var.region
}

output "cluster_name" {
  description = "Name of the EKS cluster, for `aws eks update-kubeconfig` and the load balancer controller."
  value       = aws_eks_cluster.this.name
}

output "cluster_endpoint" {
  description = "URL of the Kubernetes API."
  value       = aws_eks_cluster.this.endpoint
}

output "vpc_id" {
  description = "Network of the cluster, for the load balancer controller, which cannot ask the node for it."
  value       = aws_vpc.this.id
}

output "public_subnet_ids" {
  description = "Subnets of load balancers, by zone."
  value       = { for zone, subnet in aws_subnet.public : zone => subnet.id }
}

output "private_subnet_ids" {
  description = "Subnets of nodes and pods, by zone."
  value       = { for zone, subnet in aws_subnet.private : zone => subnet.id }
}

output "load_balancer_cidr" {
  description = "The public subnets as one network: where the load balancer's requests to pods come from."
  value       = local.load_balancer_cidr
}

output "nat_public_ips" {
  description = "Addresses that the cluster's requests to the internet come from."
  value       = [for address in aws_eip.nat : address.public_ip]
}

output "oidc_provider_arn" {
  description = "Who vouches for the cluster's service accounts, for further roles."
  value       = aws_iam_openid_connect_provider.cluster.arn
}

output "ecr_repository_url" {
  description = "Where the image of the receiver goes, without a tag."
  value       = aws_ecr_repository.receiver.repository_url
}

output "table_name" {
  description = "DynamoDB table that the receiver's role may write to, as it was given."
  value       = var.table_name
}

output "receiver_role_arn" {
  description = "Role of the service account iot-receiver in the namespace apps."
  value       = aws_iam_role.service_account["receiver"].arn
}

output "load_balancer_controller_role_arn" {
  description = "Role of the service account aws-load-balancer-controller in the namespace kube-system."
  value       = aws_iam_role.service_account["load-balancer-controller"].arn
}

output "cloudwatch_exporter_role_arn" {
  description = "Role of the service account prometheus-cloudwatch-exporter in the namespace monitoring."
  value       = aws_iam_role.service_account["cloudwatch-exporter"].arn
}

output "addon_versions" {
  description = "Versions of the add-ons that run; as addon_versions in terraform.tfvars they stay."
  value       = merge({ for name, addon in aws_eks_addon.before_nodes : name => addon.addon_version }, { for name, addon in aws_eks_addon.on_nodes : name => addon.addon_version })
}
