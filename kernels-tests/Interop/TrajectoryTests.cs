// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Interop;

/// <summary>Training with the fused loss and with plain operations goes the same way.</summary>
internal sealed class TrajectoryTests
{
    private const int Steps = 50;
    private const double Tolerance = 1e-4;

    [Test]
    public void Fifty_steps_of_AdamW_stay_together()
    {
        using MoLoLoss fused = new();
        using PlainMoLoLoss plain = new();
        (double[] fusedLosses, double[] fusedWeights) = Train(fused);
        (double[] plainLosses, double[] plainWeights) = Train(plain);
        Assert.Multiple(() =>
        {
            for (int step = 0; step < Steps; step++)
            {
                Assert.That(fusedLosses[step], Is.EqualTo(plainLosses[step]).Within(Tolerance * plainLosses[step]), $"loss of step {step}");
            }

            Expect.Gradient(fusedWeights, plainWeights, Tolerance, "weights after the last step");
            Assert.That(fusedLosses[^1], Is.LessThan(0.8 * fusedLosses[0]), "it learned");
        });
    }

    /// <summary>Two small encoders on batches of pairs that share hidden factors.</summary>
    private static (double[] Losses, double[] Weights) Train(nn.Module<Tensor, Tensor, Tensor, Tensor> loss)
    {
        using DisposeScope scope = NewDisposeScope();
        manual_seed(3);
        nn.Module<Tensor, Tensor> imageEncoder = nn.Sequential(nn.Linear(24, 48), nn.GELU(), nn.Linear(48, 32));
        nn.Module<Tensor, Tensor> textEncoder = nn.Sequential(nn.Linear(20, 48), nn.GELU(), nn.Linear(48, 32));
        TorchSharp.Modules.Parameter logitScale = nn.Parameter(tensor((float)Math.Log(1 / 0.07)));
        TorchSharp.Modules.Parameter[] parameters = [.. imageEncoder.parameters(), .. textEncoder.parameters(), logitScale];
        optim.Optimizer optimizer = optim.AdamW(parameters, lr: 1e-3, weight_decay: 0.01);
        Tensor toImage = randn(10, 24), toText = randn(10, 20);
        double[] losses = new double[Steps];
        for (int step = 0; step < Steps; step++)
        {
            using DisposeScope inner = NewDisposeScope();
            Tensor factors = randn(40, 10);
            optimizer.zero_grad();
            Tensor value = loss.forward(imageEncoder.forward(factors.matmul(toImage)), textEncoder.forward(factors.matmul(toText)), logitScale);
            value.backward();
            optimizer.step();
            losses[step] = value.item<float>();
        }

        return (losses, [.. parameters.SelectMany(parameter => TensorCase.Values(parameter))]);
    }
}
