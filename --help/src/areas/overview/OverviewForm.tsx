import { Check } from 'lucide-react';
import { useForm } from 'react-hook-form';
import { Button } from '@/components/Button';
import { Input } from '@/components/Input';
import { rowSchema } from '@/lib/schema';

const formSchema = rowSchema.pick({ name: true });

export function OverviewForm() {
  const { register, handleSubmit, setError, formState } = useForm({ defaultValues: { name: '' } });
  const save = handleSubmit((values) => {
    const parsed = formSchema.safeParse(values);
    if (!parsed.success) setError('name', { message: 'A name, please' });
  });
  return (
    <form onSubmit={save} className="space-y-4">
      <Input label="Name of the overview entry" {...register('name')} />
      {formState.errors.name && <p className="text-sm text-red-600">{formState.errors.name.message}</p>}
      <Button type="submit">
        <Check size={14} /> Save
      </Button>
    </form>
  );
}
