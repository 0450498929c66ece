"""A small residual network for images, with the shape of its input in an irene comment."""

from torch import Tensor, nn


class ConvBlock(nn.Module):
    """Convolution, batch norm, activation."""

    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.norm(self.conv(x)))


class Residual(nn.Module):
    """Two convolutions around which the input flows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = ConvBlock(width, width)
        self.second = ConvBlock(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


# irene: ConvNet(n_classes=1000), x=float32[8, 3, 224, 224]
class ConvNet(nn.Module):
    """A stem, four stages of growing width, and a linear classifier."""

    def __init__(self, n_classes: int = 10, width: int = 32) -> None:
        super().__init__()
        self.stem = ConvBlock(3, width, stride=2)
        stages: list[nn.Module] = []
        for stage in range(4):
            n_in, n_out = width * 2**stage, width * 2 ** (stage + 1)
            stages.append(ConvBlock(n_in, n_out, stride=2))
            stages.append(Residual(n_out))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width * 16, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.stem(x))
        return self.head(self.pool(x).flatten(1))
