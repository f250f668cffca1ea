import { Inbox } from 'lucide-react';

export function Empty({ text }: { text: string }) {
  return (
    <p className="flex flex-col items-center gap-2 py-12 text-slate-400">
      <Inbox /> {text}
    </p>
  );
}
