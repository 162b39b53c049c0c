// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>The tensors of a TorchScript module and all modules in it, under names joined by dots.</summary>
internal static class TorchModules
{
    private const int MaxDepth = 32;
    private const int MaxObjects = 100_000;

    /// <summary>Walks the object tree depth first.</summary>
    /// <param name="path">The file, for messages.</param>
    /// <param name="root">The outermost module.</param>
    /// <exception cref="UserError">The value is no module, or its nesting never ends.</exception>
    public static List<(string Name, PickleTensor Tensor)> Walk(string path, object? root)
    {
        if (root is not PickleObject module)
        {
            throw new UserError($"{path}: is a TorchScript archive whose content is no module");
        }

        List<(string, PickleTensor)> tensors = [];
        int objects = 0;
        Visit(module, "", 0);
        return tensors;

        void Visit(PickleObject current, string prefix, int depth)
        {
            // Modules may be shared or contain themselves in a hostile file; a walk without limits would not end.
            if (depth > MaxDepth || ++objects > MaxObjects)
            {
                throw new UserError($"{path}: its modules are nested deeper than {MaxDepth} or more than {MaxObjects}, which no model is");
            }

            foreach ((object? key, object? value) in current.Attributes?.Pairs ?? [])
            {
                string name = $"{prefix}{key as string}";
                if (value is PickleTensor tensor)
                {
                    tensors.Add((name, tensor));
                }
                else if (value is PickleObject child)
                {
                    Visit(child, $"{name}.", depth + 1);
                }
            }
        }
    }
}
