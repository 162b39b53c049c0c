// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;

namespace HiMo.Trainer;

/// <summary>The option that names the device of a command; <see cref="TorchDevice.Open"/> reads it.</summary>
internal static class DeviceOption
{
    /// <summary>What help shows in the place of a value.</summary>
    public const string Names = "cpu|cuda|cuda:N";

    /// <summary>The option.</summary>
    /// <param name="description">One sentence for help.</param>
    public static Option<string> Create(string description) =>
        new(TorchDevice.Option) { Description = $"{description} [{TorchDevice.Cpu}]", HelpName = Names, DefaultValueFactory = _ => TorchDevice.Cpu };
}
