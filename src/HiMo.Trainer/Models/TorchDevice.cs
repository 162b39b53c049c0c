// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using HiMo.Interop;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>Where a model computes: the one place that reads a device's name and finds out whether this libtorch has it.</summary>
internal static class TorchDevice
{
    /// <summary>The processor, where everything computes unless a call says otherwise.</summary>
    public const string Cpu = "cpu";

    /// <summary>The option that names a device, on every command that has one.</summary>
    public const string Option = "--device";

    private const string Cuda = "cuda";

    /// <summary>The device of a name.</summary>
    /// <param name="name"><c>cpu</c>, <c>cuda</c> for the first GPU, or <c>cuda:N</c>, N from 0 in the driver's order.</param>
    /// <exception cref="UserError">It is no such name, or this machine or its libtorch does not have the device; the message says what would.</exception>
    public static Device Open(string name)
    {
        if (Parse(name) is not { } index)
        {
            TorchLoader.EnsureLoaded();
            return CPU;
        }

        try
        {
            TorchLoader.EnsureLoaded();
        }
        catch (DllNotFoundException failure)
        {
            throw new UserError($"{Option} {name}: {failure.Message.ReplaceLineEndings(" ")}", failure);
        }

        Require(name, index, cuda.device_count(), TorchLoader.Find(TorchCuda.Library) is not null);
        return new Device(DeviceType.CUDA, index);
    }

    /// <summary>The number of a GPU, or null for the processor.</summary>
    /// <param name="name">See <see cref="Open"/>.</param>
    /// <exception cref="UserError">It is no device's name.</exception>
    internal static int? Parse(string name)
    {
        switch (name.Split(':'))
        {
            case [Cpu]:
                return null;
            case [Cuda]:
                return 0;
            case [Cuda, var number] when int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out int index):
                return index;
            default:
                throw new UserError($"{Option} {name}: a device is {Cpu}, {Cuda} for the first GPU, or {Cuda}:N with N from 0");
        }
    }

    /// <summary>Refuses a GPU that is not there.</summary>
    /// <param name="name">As it was given.</param>
    /// <param name="index">Its number.</param>
    /// <param name="count">GPUs that libtorch finds.</param>
    /// <param name="knowsCuda">Whether libtorch is one for CUDA.</param>
    /// <exception cref="UserError">It is not.</exception>
    internal static void Require(string name, int index, int count, bool knowsCuda)
    {
        if (index < count)
        {
            return;
        }

        throw new UserError($"{Option} {name}: " + (count, knowsCuda) switch
        {
            (0, false) => $"this libtorch computes on the CPU only. Set {TorchLoader.FolderVariable} to the folder of a libtorch for CUDA, such as lib beside torch/__init__.py of Python's torch; "
                + "docs/training.md, On a GPU, has the commands, ./himo doctor says which libtorch is loaded",
            (0, true) => "libtorch is one for CUDA and finds no GPU: 'nvidia-smi' must list one that CUDA_VISIBLE_DEVICES does not hide; ./himo doctor --gpu says more",
            _ => $"libtorch finds {count} GPU{(count == 1 ? "" : "s")}, {string.Join(", ", Enumerable.Range(0, count).Select(each => $"{Cuda}:{each}"))}; name one of them",
        });
    }
}
