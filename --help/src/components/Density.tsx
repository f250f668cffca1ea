import { Rows3, Rows4 } from 'lucide-react';
import { usePreferences } from '@/lib/store';
import { Button } from './Button';

export function Density() {
  const { compact, toggleCompact } = usePreferences();
  return (
    <Button kind="quiet" onClick={toggleCompact}>
      {compact ? <Rows3 size={14} /> : <Rows4 size={14} />} {compact ? 'Roomy' : 'Compact'}
    </Button>
  );
}
