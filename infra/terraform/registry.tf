# Where the image of the receiver lives.

resource "aws_ecr_repository" "receiver" {
  name = "iot-receiver"
  # A tag means one image for ever: what was tested under a name is what runs under it.
  image_tag_mutability = "IMMUTABLE"
  # An image is built again in a minute from ../../receiver; it shall not keep `terraform destroy` from ending.
  force_delete = true

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = aws_kms_key.platform.arn
  }
}

resource "aws_ecr_lifecycle_policy" "receiver" {
  repository = aws_ecr_repository.receiver.name

  policy = jsonencode({
    rules = [
      {
        rulePriority = 1
        description  = "What lost its tag, or never had one, goes after a week."
        selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 7 }
        action       = { type = "expire" }
      },
      {
        rulePriority = 2
        description  = "The last twenty images stay, to go back to."
        selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 20 }
        action       = { type = "expire" }
      },
    ]
  })
}
