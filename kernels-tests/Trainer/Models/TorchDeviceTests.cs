// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer;

internal sealed class TorchDeviceTests
{
    [TestCase("cpu", null)]
    [TestCase("cuda", 0)]
    [TestCase("cuda:0", 0)]
    [TestCase("cuda:12", 12)]
    public void Names_are_those_of_torch(string name, int? index) => Assert.That(TorchDevice.Parse(name), Is.EqualTo(index));

    [TestCase("")]
    [TestCase("gpu")]
    [TestCase("CUDA")]
    [TestCase("cpu:0")]
    [TestCase("cuda:")]
    [TestCase("cuda:-1")]
    [TestCase("cuda: 1")]
    [TestCase("cuda:1:2")]
    [TestCase("cuda:99999999999")]
    public void Other_names_are_refused_with_those_that_exist(string name) =>
        Assert.That(() => TorchDevice.Open(name), Throws.TypeOf<UserError>().With.Message.EqualTo($"--device {name}: a device is cpu, cuda for the first GPU, or cuda:N with N from 0"));

    [Test]
    public void What_is_missing_is_named_with_the_way_to_it()
    {
        Assert.That(() => TorchDevice.Require("cuda", 0, count: 0, knowsCuda: false), Throws.TypeOf<UserError>().With.Message.StartsWith("--device cuda: ").And.Message.Contains("HIMO_LIBTORCH").And.Message.Contains("docs/training.md"));
        Assert.That(() => TorchDevice.Require("cuda", 0, count: 0, knowsCuda: true), Throws.TypeOf<UserError>().With.Message.StartsWith("--device cuda: ").And.Message.Contains("nvidia-smi").And.Message.Not.Contains("HIMO_LIBTORCH"));
        Assert.That(() => TorchDevice.Require("cuda:1", 1, count: 1, knowsCuda: true), Throws.TypeOf<UserError>().With.Message.StartsWith("--device cuda:1: ").And.Message.Contains("1 GPU, cuda:0;"));
        Assert.That(() => TorchDevice.Require("cuda:2", 2, count: 2, knowsCuda: true), Throws.TypeOf<UserError>().With.Message.StartsWith("--device cuda:2: ").And.Message.Contains("2 GPUs, cuda:0, cuda:1;"));
        Assert.That(() => TorchDevice.Require("cuda:1", 1, count: 2, knowsCuda: true), Throws.Nothing);
    }
}
