// SPDX-License-Identifier: Apache-2.0
using System.Runtime.InteropServices;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public class InstructionSetsTests
{
    [TestCase("DOTNET_EnableAVX512", 256)]
    [TestCase("DOTNET_EnableAVX2", 128)]
    [TestCase("DOTNET_EnableHWIntrinsic", 0)]
    public void Simd_tests_pass_without(string knob, int widest)
    {
        Assume.That(InstructionSets.DemandedWidth, Is.Null, "this is the child process");
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            Assert.Ignore("the switches are those of x64");
        }

        if (InstructionSets.WidestVector <= widest)
        {
            Assert.Ignore($"this machine's widest vector has {InstructionSets.WidestVector} bits: nothing to switch off");
        }

        InstructionSets.RunChild(knob, widest, $"TestCategory={InstructionSets.Simd}");
    }

    [Test]
    public void Vector_width_is_the_one_demanded()
    {
        int demanded = InstructionSets.DemandedWidth ?? InstructionSets.WidestVector;
        Assert.That(InstructionSets.WidestVector, Is.EqualTo(demanded));
    }
}
