"""What judges and shows measurements. Never imported while measuring."""
