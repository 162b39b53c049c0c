// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Interop;

/// <summary>Ten thousand steps (a short form in the ordinary run) leave the process's memory where it was.</summary>
internal sealed class MoLoLossMemoryTests
{
    private const int Rows = 64;
    private const int Columns = 512;
    private const int WarmUp = 300;         // past the first collection where nothing is disposed

    /// <summary>Bytes of growth; one lost N x d tensor a step would be 125 MiB in the short form, 1.2 GiB in the long one.</summary>
    private const long Allowed = 64L << 20;

    private static int Steps => TestLength.Pick(1000, 10_000);

    [Test]
    public void A_scope_around_the_step() => CheckFlat((given, module) =>
    {
        using DisposeScope scope = NewDisposeScope();
        module.forward(given.Images, given.Texts, given.LogitScale).backward();
    });

    [Test]
    public void No_scope_and_the_loss_disposed() => CheckFlat((given, module) =>
    {
        using Tensor loss = module.forward(given.Images, given.Texts, given.LogitScale);
        loss.backward();
    });

    [Test]
    public void No_scope_and_nothing_disposed() => CheckFlat((given, module) => module.forward(given.Images, given.Texts, given.LogitScale).backward());

    [Test]
    public void Copied_inputs_and_no_recording() => CheckFlat((given, module) =>
    {
        using IDisposable constant = no_grad();
        using Tensor images = given.Images.to(ScalarType.Float64);
        using Tensor loss = module.forward(images, given.Texts, given.LogitScale);
    });

    private static void CheckFlat(Action<TensorCase, MoLoLoss> step)
    {
        using TensorCase given = TensorCase.Random(Rows, Columns);
        using MoLoLoss module = new(threads: 1);
        for (int i = 0; i < WarmUp; i++)
        {
            step(given, module);
        }

        long before = Environment.WorkingSet;
        for (int i = 0; i < Steps; i++)
        {
            step(given, module);
        }

        Assert.That(Environment.WorkingSet - before, Is.LessThan(Allowed), "bytes of growth");
    }
}
